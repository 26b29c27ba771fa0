import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { USAGES } from '../../../src/commands/usages.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { FINDING_CODES } from '../../../src/doctor/finding.ts';
import { describeError, ERROR_CODES } from '../../../src/error-catalogue.ts';
import { LOG_FIELDS } from '../../../src/observability/log-fields.ts';
import { CACHE_RESULTS, EVICTION_REASONS } from '../../../src/observability/token-observer.ts';
import { problemsOfManifest, problemsOfPart } from '../../harness/kubernetes-schema.ts';
import {
  anchorsOf,
  codeWords,
  fencedBlocks,
  linksOf,
  listPages,
  listPagesIn,
  readPagesIn,
  readProse,
  resolveLink,
  sentencesOf,
  tableRows,
} from '../../harness/pages.ts';
import { runProgram } from '../../harness/run-command.ts';
import { exampleConfigText, parseDocuments, readDeployFile } from '../deploy/manifests.ts';

const MAX_LINES = 300;
/** A longer sentence has two ideas, or hides its verb. */
const MAX_WORDS = 25;

for (const page of listPages()) {
  test(`${page} begins with links to its sections`, () => {
    const prose = readProse(page);
    const [intro = ''] = prose.split(/^## /m, 1);
    const contents = linksOf(intro);
    const unlisted = anchorsOf(prose, '##').filter((section) => !contents.includes(`#${section}`));
    assert.deepEqual(unlisted, []);
  });

  test(`${page} has fewer than ${MAX_LINES} lines`, () => {
    assert.ok(readFileSync(page, 'utf8').split('\n').length <= MAX_LINES);
  });

  test(`${page} has no sentence with more than ${MAX_WORDS} words`, () => {
    const wordsOf = (sentence: string) => sentence.split(/\s+/).filter((word) => /\w/.test(word));
    const tooLong = sentencesOf(readProse(page)).filter((sentence) => wordsOf(sentence).length > MAX_WORDS);
    assert.deepEqual(tooLong, []);
  });

  test(`every link of ${page} leads to an existing file and heading`, () => {
    for (const link of linksOf(readProse(page))) {
      const { file, anchor } = resolveLink(page, link);
      assert.ok(existsSync(file), link);
      if (anchor !== undefined) assert.ok(anchorsOf(readProse(file)).includes(anchor), link);
    }
  });
}

for (const folder of ['config', 'config/recipes', 'deploy', 'test/bench']) {
  test(`${folder}/README.md leads to each page of its folder`, () => {
    const index = `${folder}/README.md`;
    const linked = new Set(linksOf(readProse(index)).map((link) => resolveLink(index, link).file));
    assert.deepEqual(
      listPagesIn(folder).filter((page) => isIndexedBy(page, folder) && page !== index && !linked.has(page)),
      [],
    );
  });
}

/** An index leads to the pages of its folder, and to the indexes of subfolders. */
function isIndexedBy(page: string, folder: string): boolean {
  return dirname(page) === folder || page.endsWith('/README.md');
}

// The logger takes no others: their names are in its type.
test('the table of the fields of the log has all that there are, in their order, with lines and meaning', () => {
  const rows = tableRows(readFileSync('config/log.md', 'utf8'), 'in lines of');
  const names = rows.flatMap(([name]) => codeWords(name ?? ''));
  assert.deepEqual(names, [...LOG_FIELDS]);
  for (const [name, lines, meaning] of rows) assert.ok(lines !== '' && meaning !== '', name);
});

const listed = tableRows(readFileSync('src/README.md', 'utf8'), '| folder')
  .flatMap(([names]) => codeWords(names ?? ''))
  .filter((name) => !name.endsWith('.ts'));

type Override = { includes: string[]; linter: { rules: { style?: { noRestrictedImports?: Restricted } } } };
type Restricted = { options: { patterns: { group: string[] }[] } };

/** The imports that Biome forbids in a folder of src. */
function forbiddenIn(folder: string): string[] {
  const { overrides } = JSON.parse(readFileSync('biome.json', 'utf8')) as { overrides: Override[] };
  return overrides
    .filter(({ includes }) => includes.includes(`src/${folder}/**`))
    .flatMap(({ linter }) => linter.rules.style?.noRestrictedImports?.options.patterns ?? [])
    .flatMap(({ group }) => group);
}

test('src/README.md lists the folders of src', () => {
  const folders = readdirSync('src', { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => name);
  assert.deepEqual([...listed].sort(), folders.sort());
});

/** Folders with files of this kind, relative to `root`. */
function foldersWith(root: string, ending: string): string[] {
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith(ending));
  return [...new Set(files.map((name) => dirname(name)))].sort();
}

test('the folders of test/unit are those of src', () => {
  assert.deepEqual(foldersWith('test/unit', '.test.ts'), foldersWith('src', '.ts'));
});

test('Biome forbids every folder of src to import a later one in src/README.md', () => {
  for (const [index, folder] of listed.entries()) {
    const forbidden = forbiddenIn(folder);
    const allowed = listed.slice(index + 1).filter((later) => !forbidden.includes(`**/${later}/**`));
    assert.deepEqual(allowed, [], folder);
  }
});

const FOLDER = 'config/recipes';
const INDEX = `${FOLDER}/README.md`;
const index = tableRows(readFileSync(INDEX, 'utf8'), '| page ');
const pages = readdirSync(FOLDER).filter((name) => name !== 'README.md');

/** The example configs: not the schema, and not the realm of Keycloak. */
const examples = readdirSync('config').filter(
  (name) => /\.(yaml|json)$/.test(name) && !/(\.schema|-realm)\.json$/.test(name),
);

test('the index lists every page, and every example config once', () => {
  assert.deepEqual(index.map(([page]) => /\((.*)\)/.exec(page ?? '')?.[1]).sort(), pages.sort());
  assert.deepEqual(index.flatMap(([, , recipes]) => codeWords(recipes ?? '')).sort(), examples.sort());
});

test('every recipe names its page, and every page links to its recipes', () => {
  for (const [page = '', , recipes = ''] of index) {
    const name = /\((.*)\)/.exec(page)?.[1] ?? '';
    const text = readFileSync(`${FOLDER}/${name}`, 'utf8');
    for (const recipe of codeWords(recipes)) {
      assert.ok(text.includes(`(../${recipe})`), `${name}: ${recipe}`);
      if (recipe.endsWith('.yaml')) {
        assert.ok(readFileSync(`config/${recipe}`, 'utf8').includes(`recipes/${name}`), `${recipe}: ${name}`);
      }
    }
  }
});

for (const page of pages) {
  test(`${page} sets up the server by commands, gets a caller's token and checks the exchange`, async () => {
    const text = readFileSync(`${FOLDER}/${page}`, 'utf8');
    const sections = anchorsOf(readProse(`${FOLDER}/${page}`), '##');
    for (const section of ['a-callers-token', 'check']) assert.ok(sections.includes(section), section);
    const [setUp = ''] = text.split(/^## A caller's token$/m, 1);
    assert.match(setUp, /^```(sh|hcl|yaml|java)$/m);
    for (const script of fencedBlocks(text, 'sh')) {
      const { code, stderr } = await runProgram('bash', ['-n'], { input: script });
      assert.equal(code, 0, stderr);
    }
  });
}

const readme = readFileSync('README.md', 'utf8');
const errors = readFileSync('config/errors.md', 'utf8');
const metrics = readFileSync('config/metrics.md', 'utf8');
const doctor = ['doctor', 'doctor-through'].map((name) => readFileSync(`config/${name}.md`, 'utf8')).join('\n');
const servers = readFileSync('config/authorization-servers.md', 'utf8');

test('config/errors.md lists every error code with its status', () => {
  const documented = tableRows(errors, '`code`').map(([status, code]) => `${codeWords(code ?? '')[0]} ${status}`);
  assert.deepEqual(documented.sort(), ERROR_CODES.map((code) => `${code} ${describeError(code).status}`).sort());
});

test('README.md lists every command with the words of --help', () => {
  const documented = tableRows(readme, '| command').map(([call, does]) => [codeWords(call ?? '')[0], does]);
  const known = Object.entries(USAGES).map(([name, { does }]) => [name, does]);
  assert.deepEqual(documented, known);
});

test('config/metrics.md lists every cache result and every eviction reason', () => {
  const values = (head: string) => tableRows(metrics, `| ${head}`).flatMap(([value]) => codeWords(value ?? ''));
  assert.deepEqual(values('cache `result`'), [...CACHE_RESULTS]);
  assert.deepEqual(values('eviction `reason`'), [...EVICTION_REASONS]);
});

test('config/doctor.md and config/doctor-through.md list every finding once', () => {
  const tables = [...doctor.matchAll(/^\| (\w+(?: \w+)* finding) +\|/gm)].map(([, head = '']) =>
    tableRows(doctor, `| ${head}`),
  );
  const documented = tables.flat().flatMap(([code]) => codeWords(code ?? ''));
  assert.deepEqual(documented.sort(), [...FINDING_CODES].sort());
});

test('config/common-mistakes.md covers every server that has a recipe', () => {
  const recipes = tableRows(servers, 'names the backend by').map(([server = '']) => server);
  const covered = readFileSync('config/common-mistakes.md', 'utf8');
  assert.deepEqual(
    recipes.filter((server) => !covered.includes(`\n## ${server}\n`)),
    ['two of them', 'another'],
  );
});

test('every config in the README is valid', () => {
  const blocks = fencedBlocks(readme, 'yaml');
  assert.ok(blocks.length > 0);
  for (const block of blocks) assert.deepEqual(parseConfig(block, 'README.md').problems, []);
});

test('every npm script that a page names exists', () => {
  const { scripts } = JSON.parse(readFileSync('package.json', 'utf8')) as { scripts: Record<string, string> };
  for (const file of listPages()) {
    const text = readFileSync(file, 'utf8');
    for (const [, name] of text.matchAll(/npm run ([a-z0-9:-]+)/g))
      assert.ok(name !== undefined && name in scripts, `${file}: npm run ${name}`);
  }
});

const guide = readPagesIn('deploy');
/** Blocks of kagent are tested in test/unit/kubernetes, files of teams in test/external/cluster, and the others in test/external/deploy. */
const ownBlocks = [...guide.matchAll(/^```yaml *(\w*)\n(.*?)^```$/gms)]
  .map(([, type = '', text = '']) => ({ type, text }))
  .filter(({ type }) => !['kagent', 'team', 'values', 'kustomize'].includes(type));

/** The problems of a block. deploy/README.md explains the word after `yaml`. */
function problemsOfBlock({ type, text }: { type: string; text: string }): readonly unknown[] {
  if (type === '') return parseDocuments(text).flatMap(problemsOfManifest);
  if (type !== 'cambist') return problemsOfPart(type, parse(text));
  const merged = { ...(parse(exampleConfigText()) as object), ...(parse(text) as object) };
  // The key warns on each route, because no config says whether a server binds a session to its credential.
  return parseConfig(stringify(merged), 'deploy').problems.filter(({ path }) => !path.endsWith('.unattended'));
}

test('every YAML block of the Kubernetes pages is valid', () => {
  assert.ok(ownBlocks.length >= 3);
  for (const block of ownBlocks) assert.deepEqual(problemsOfBlock(block), [], block.text);
});

test('every error code in the Kubernetes pages and SECURITY.md exists', () => {
  const text = `${guide}\n${readFileSync('SECURITY.md', 'utf8')}`;
  const known: readonly string[] = ERROR_CODES;
  for (const [code] of text.matchAll(/ERR_[A-Z_]+[A-Z]/g)) assert.ok(known.includes(code), code);
});

test('every path below deploy/ that a page names exists', () => {
  const paths = new Set([...guide.matchAll(/(?<![\w./-])deploy(?:\/[\w.-]+)+/g)].map(([path]) => path));
  assert.ok(paths.size >= 10);
  for (const path of paths) assert.ok(existsSync(path), path);
});

test('the pages use the image of the manifests and the base of the Dockerfile', () => {
  const image = /image: (\S*cambist:\S+)/.exec(readDeployFile('pod.yaml'))?.[1] ?? '';
  for (const [tag] of guide.matchAll(/registry\.example\.com\/cambist:[\w.]+/g)) assert.equal(tag, image);
  const dockerfile = readFileSync('Dockerfile', 'utf8');
  for (const [base] of guide.matchAll(/node:\d[\w.-]+/g)) assert.ok(dockerfile.includes(`=${base}@sha256:`), base);
});

interface Job {
  readonly permissions?: Record<string, string>;
  readonly steps: readonly { uses?: string; run?: string; with?: Record<string, unknown> }[];
}

interface Workflow {
  readonly on: string | Record<string, unknown>;
  readonly permissions: Record<string, string>;
  readonly jobs: Record<string, Job>;
}

const WORKFLOWS = '.github/workflows';
const texts = new Map(readdirSync(WORKFLOWS).map((name) => [name, readFileSync(join(WORKFLOWS, name), 'utf8')]));
const workflows = new Map([...texts].map(([name, text]) => [name, parse(text, { strict: true }) as Workflow]));

/** Everything that a workflow may write. Each job has what its steps need, and no more. */
const WRITES: Record<string, readonly string[]> = {
  'codeql.yml': ['analyze: security-events'],
  'dependencies.yml': [],
  'release.yml': ['image: contents', 'image: id-token', 'image: packages', 'package: id-token'],
};

const writable = (permissions: Record<string, string> = {}): string[] =>
  Object.keys(permissions).filter((scope) => permissions[scope] === 'write');

for (const [name, { on, permissions, jobs }] of workflows) {
  const steps = Object.values(jobs).flatMap((job) => job.steps);

  test(`${name} pins every action to a commit, runs no install script, and inserts no text of the event into a script`, () => {
    const actions = steps.flatMap(({ uses }) => uses ?? []);
    for (const uses of actions) assert.match(uses, /^[\w./-]+@[0-9a-f]{40}$/);
    const named = [...(texts.get(name) ?? '').matchAll(/uses: ([\w./-]+@[0-9a-f]{40}) # v\d/g)].map(([, uses]) => uses);
    assert.deepEqual(named, actions);
    for (const { run = '' } of steps) {
      assert.doesNotMatch(run, /\$\{\{/);
      if (/\bnpm ci\b/.test(run)) assert.match(run, /--ignore-scripts/);
    }
  });

  test(`${name} runs no code of a pull request with rights, and lets only the jobs write that need it`, () => {
    const events = typeof on === 'string' ? [on] : Object.keys(on);
    for (const event of events) assert.ok(['pull_request', 'push', 'schedule'].includes(event), event);
    assert.deepEqual(writable(permissions), []);
    const writes = Object.entries(jobs).flatMap(([job, { permissions: own }]) => {
      return writable(own).map((scope) => `${job}: ${scope}`);
    });
    assert.deepEqual(writes.sort(), WRITES[name]);
    for (const step of steps) {
      if (step.uses?.startsWith('actions/checkout@')) assert.equal(step.with?.['persist-credentials'], false);
    }
  });
}

test('the release publishes with provenance, and signs the digest of the image', () => {
  const steps = Object.values(workflows.get('release.yml')?.jobs ?? {}).flatMap((job) => job.steps);
  const scripts = steps.map(({ run = '' }) => run).join('\n');
  assert.match(scripts, /npm publish .*--provenance/);
  assert.match(scripts, /cosign sign --yes "\$IMAGE@\$DIGEST"/);
  assert.match(scripts, /npm audit signatures/);
  assert.match(scripts, /deploy\/sbom\.mjs/);
});
