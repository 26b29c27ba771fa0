import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { codeWords, tableRows } from '../../harness/pages.ts';
import { megabytes, SHIPPED, withDependencies } from '../../harness/shipped-packages.ts';

interface Instruction {
  /** Upper case: `FROM`, `COPY`. */
  readonly name: string;
  /** The rest of the line, with continuations joined and global ARGs filled in. */
  readonly value: string;
}

interface Stage {
  readonly base: string;
  readonly alias: string | undefined;
  readonly instructions: readonly Instruction[];
}

/** Parses the syntax that our Dockerfile uses: comments, continuations, global ARGs, stages. */
function parseDockerfile(text: string): Stage[] {
  const globals = new Map<string, string>();
  const stages: { base: string; alias: string | undefined; instructions: Instruction[] }[] = [];
  for (const line of logicalLines(text)) {
    const [, name = '', rest = ''] = /^(\w+)\s+(.*)$/s.exec(line) ?? [];
    const value = rest.replace(/\$\{(\w+)\}/g, (reference, key: string) => globals.get(key) ?? reference);
    const current = stages.at(-1);
    if (name === 'FROM') {
      const [base = '', , alias] = value.split(/\s+/);
      stages.push({ base, alias, instructions: [] });
    } else if (current !== undefined) {
      current.instructions.push({ name, value });
    } else {
      const [key = '', fallback = ''] = value.split('=');
      globals.set(key, fallback);
    }
  }
  return stages;
}

/** Sources and destination of a COPY, and the stage of the sources. */
function parseCopy(value: string): { from: string | undefined; sources: string[]; destination: string } {
  const words = value.split(/\s+/);
  const flags = words.filter((word) => word.startsWith('--'));
  const paths = words.filter((word) => !word.startsWith('--'));
  const from = flags.find((flag) => flag.startsWith('--from='))?.slice('--from='.length);
  return { from, sources: paths.slice(0, -1), destination: paths.at(-1) ?? '' };
}

function logicalLines(text: string): string[] {
  const lines = text.split('\n').filter((line) => !line.startsWith('#'));
  return lines
    .join('\n')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '');
}

const root = new URL('../../../', import.meta.url);
const readText = (name: string): string => readFileSync(new URL(name, root), 'utf8');
const stages = parseDockerfile(readText('Dockerfile'));
const runtime = stages.at(-1) as Stage;

const valuesOf = (stage: Stage, name: string): string[] =>
  stage.instructions.filter((instruction) => instruction.name === name).map(({ value }) => value);

test('one base image builds, pinned by its full version and digest; the runtime stage has none', () => {
  const bases = new Set(stages.map(({ base }) => base));
  assert.equal(bases.size, 2);
  const [base = ''] = bases;
  assert.match(base, /^node:\d+\.\d+\.\d+-[a-z]+-slim@sha256:[0-9a-f]{64}$/);
  assert.equal(runtime.base, 'scratch');
});

test('the release builds on the base image of the Dockerfile, which Renovate updates', () => {
  assert.doesNotMatch(readText('.github/workflows/release.yml'), /NODE_IMAGE/);
  const { enabledManagers, extends: presets } = JSON.parse(readText('renovate.json'));
  assert.deepEqual([enabledManagers, presets], [['dockerfile'], ['docker:pinDigests']]);
});

test('the image runs as a numeric user, not as root', () => {
  const [user, ...more] = valuesOf(runtime, 'USER');
  assert.match(user ?? '', /^[1-9]\d*:[1-9]\d*$/);
  assert.deepEqual(more, []);
});

test('the last stage only copies what runs', () => {
  const copies = valuesOf(runtime, 'COPY').map(parseCopy);
  for (const { from } of copies) assert.ok(stages.some(({ alias }) => alias !== undefined && alias === from));
  const sources = copies.flatMap((copy) => copy.sources.map((source) => source.replace(/^\/app\//, '')));
  assert.deepEqual(sources.sort(), ['/system', 'LICENSE', 'dist', 'node_modules', 'package.json']);
  for (const name of ['RUN', 'ADD', 'HEALTHCHECK', 'SHELL']) assert.deepEqual(valuesOf(runtime, name), [], name);
});

test('the image of the init container has one script, and none of cambist', () => {
  const redirect = stages.find(({ alias }) => alias === 'redirect') as Stage;
  assert.equal(redirect.base, 'scratch');
  const sources = valuesOf(redirect, 'COPY').flatMap((copy) => parseCopy(copy).sources);
  assert.deepEqual(sources.sort(), ['/system', 'LICENSE', 'deploy/redirect/redirect.sh']);
  assert.deepEqual(valuesOf(redirect, 'USER'), ['0:0']);
  assert.deepEqual(JSON.parse(valuesOf(redirect, 'ENTRYPOINT')[0] ?? ''), ['sh', '/usr/bin/cambist-redirect']);
  const versions = [redirect, runtime].map(
    (stage) => /image\.version="[^"]+"/.exec(valuesOf(stage, 'LABEL').join())?.[0],
  );
  assert.equal(versions[0], versions[1]);
});

test('the entrypoint runs the program without a shell', () => {
  const entrypoint = JSON.parse(valuesOf(runtime, 'ENTRYPOINT')[0] ?? '') as string[];
  const [program, ...rest] = entrypoint;
  assert.deepEqual([program, rest.at(-1)], ['node', '/app/dist/main.js']);
  for (const flag of rest.slice(0, -1)) assert.match(flag, /^--(?:max-[a-z-]+=\d+|disable-sigusr1)$/);
  assert.deepEqual(JSON.parse(valuesOf(runtime, 'CMD')[0] ?? ''), ['run']);
});

test('the entrypoint has only flags that do not invalidate the code cache', () => {
  const [, ...flags] = (JSON.parse(valuesOf(runtime, 'ENTRYPOINT')[0] ?? '') as string[]).slice(0, -1);
  for (const flag of flags) assert.match(flag, /^--(?:max-(?:old|semi)-space-size|disable-sigusr1$)/);
  const runs = stages.flatMap((stage) => valuesOf(stage, 'RUN'));
  assert.ok(runs.includes('node deploy/code-cache.mjs'));
});

test('the image installs production dependencies from the lock file, without their scripts', () => {
  const installs = stages.flatMap((stage) => valuesOf(stage, 'RUN')).filter((run) => /\bnpm (?!run\b)/.test(run));
  assert.equal(installs.length, 2);
  for (const install of installs) assert.match(install, /^npm ci (--omit=dev )?--ignore-scripts/);
  const production = stages.find(({ alias }) => alias === 'production') as Stage;
  assert.match(valuesOf(production, 'RUN').join(), /npm ci --omit=dev /);
  assert.match(valuesOf(runtime, 'ENV').join(), /NODE_ENV=production/);
});

test('every file copied from the context exists and passes .dockerignore', () => {
  const [everything, ...allowed] = readText('.dockerignore')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  assert.equal(everything, '*');
  const sources = stages
    .flatMap((stage) => valuesOf(stage, 'COPY').map(parseCopy))
    .filter(({ from }) => from === undefined)
    .flatMap((copy) => copy.sources);
  for (const source of sources) assert.ok(existsSync(new URL(source, root)), source);
  assert.deepEqual(allowed.sort(), [...new Set(sources)].map((source) => `!${source}`).sort());
});

test('the labels match package.json', () => {
  const { version, license } = JSON.parse(readText('package.json')) as { version: string; license: string };
  const labels = valuesOf(runtime, 'LABEL').join(' ');
  assert.ok(labels.includes(`org.opencontainers.image.version="${version}"`));
  assert.ok(labels.includes(`org.opencontainers.image.licenses="${license}"`));
  assert.match(readText('LICENSE'), /Apache License\s+Version 2\.0/);
});

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly hashes?: readonly { alg: string; content: string }[];
  readonly licenses?: readonly unknown[];
}

interface Bom {
  readonly bomFormat: string;
  readonly specVersion: string;
  readonly metadata: { readonly component: Component };
  readonly components: readonly Component[];
}

interface Locked {
  readonly version: string;
  readonly integrity?: string;
  readonly dev?: boolean;
  readonly optional?: boolean;
}

const readJson = <T>(file: string): T => JSON.parse(readFileSync(file, 'utf8')) as T;
const printBom = (): string => execFileSync(process.execPath, ['deploy/sbom.mjs'], { encoding: 'utf8' });

const text = printBom();
const bom = JSON.parse(text) as Bom;

test('the SBOM is CycloneDX and describes this version of cambist', () => {
  const { version } = readJson<{ version: string }>('package.json');
  assert.equal(bom.bomFormat, 'CycloneDX');
  assert.match(bom.specVersion, /^1\.[5-9]$/);
  const { name, version: described, purl } = bom.metadata.component;
  assert.deepEqual([name, described, purl], ['cambist', version, `pkg:npm/cambist@${version}`]);
});

test('the SBOM lists exactly the packages that are shipped, each with its checksum and licence', () => {
  const { packages } = readJson<{ packages: Record<string, Locked> }>('package-lock.json');
  const shipped = Object.entries(packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, { version }]) => `${path.split('node_modules/').at(-1)}@${version}`);
  const listed = bom.components.map(({ name, version }) => `${name}@${version}`);
  assert.deepEqual([...new Set(listed)].sort(), [...new Set(shipped)].sort());
  const integrities = new Set(Object.values(packages).map(({ integrity }) => integrity));
  for (const { name, purl, hashes = [], licenses = [] } of bom.components) {
    assert.match(purl, /^pkg:npm\/.+@\d/);
    const [hash] = hashes;
    const digest = Buffer.from(hash?.content ?? '', 'hex').toString('base64');
    assert.ok(hash?.alg === 'SHA-512' && integrities.has(`sha512-${digest}`), name);
    assert.ok(licenses.length > 0, `${name} has no licence`);
  }
});

test('the SBOM of one commit is always the same text', () => {
  assert.equal(printBom(), text);
});

const readme = readFileSync('deploy/image.md', 'utf8');
const rows = tableRows(readme, 'with dependencies');

/** The growth of a package that passes without review. */
const GROWTH = 1.25;
const SMALL_MB = 0.2;

test('deploy/image.md lists exactly the direct dependencies', () => {
  const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8'));
  const listed = rows.map(([name]) => codeWords(name ?? '')[0]);
  assert.deepEqual(listed.sort(), Object.keys(dependencies).sort());
});

test('every shipped package comes with one of them', () => {
  const brought = new Set(rows.flatMap(([name]) => withDependencies(codeWords(name ?? '')[0] ?? '')));
  assert.deepEqual([...brought].sort(), [...SHIPPED].sort());
});

test('every package with its dependencies has about the size in deploy/image.md', () => {
  for (const [name = '', , size] of rows) {
    const actual = megabytes(withDependencies(codeWords(name)[0] ?? ''));
    assert.ok(isAbout(actual, Number(size)), `${name} is ${actual.toFixed(1)} MB: image.md ${size}`);
  }
});

test('all shipped packages have about the total size in deploy/image.md', () => {
  const [, count, total] = /(\d+) packages of npm, (\d+) MB of files/.exec(readme) ?? [];
  assert.equal(SHIPPED.length, Number(count));
  const actual = megabytes(SHIPPED);
  assert.ok(isAbout(actual, Number(total)), `${actual.toFixed(1)} MB: image.md ${total}`);
});

function isAbout(actual: number, said: number): boolean {
  return actual <= said * GROWTH + SMALL_MB && said <= actual * GROWTH + SMALL_MB;
}
