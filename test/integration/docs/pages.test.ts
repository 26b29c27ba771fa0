import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { LOG_FIELDS } from '../../../src/observability/log-fields.ts';
import { codeWords, fencedBlocks, tableRows } from '../../harness/markdown.ts';
import {
  anchorsOf,
  linksOf,
  listPages,
  listPagesIn,
  readProse,
  resolveLink,
  sentencesOf,
} from '../../harness/pages.ts';
import { runProgram } from '../../harness/run-command.ts';

const MAX_LINES = 300;
/** A longer sentence has two ideas, or hides its verb. */
const MAX_WORDS = 25;

for (const page of listPages()) {
  test(`${page} begins with links to its sections`, () => {
    const prose = readProse(page);
    const [intro = ''] = prose.split(/^## /m, 1);
    const contents = new Set(linksOf(intro));
    assert.deepEqual(
      anchorsOf(prose, '##').filter((section) => !contents.has(`#${section}`)),
      [],
    );
  });

  test(`${page} has fewer than ${MAX_LINES} lines`, () => {
    assert.ok(readFileSync(page, 'utf8').split('\n').length <= MAX_LINES);
  });

  test(`${page} has no sentence with more than ${MAX_WORDS} words`, () => {
    const tooLong = sentencesOf(readProse(page)).filter((sentence) => {
      const words = sentence.split(/\s+/).filter((word) => /\w/.test(word));
      return words.length > MAX_WORDS;
    });
    assert.deepEqual(tooLong, []);
  });
}

for (const page of listPages()) {
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

const reference = readFileSync('config/log.md', 'utf8');
const rows = tableRows(reference, 'in lines of');

// The logger takes no others: their names are in its type.
test('the table of the fields of the log has all that there are, in their order, and no other', () => {
  assert.deepEqual(
    rows.flatMap(([names]) => codeWords(names ?? '')),
    [...LOG_FIELDS],
  );
});

test('every field says in which lines it is, and what it means', () => {
  for (const [name, lines, meaning] of rows) assert.ok(lines !== '' && meaning !== '', name);
});

/** The folders of src, in the order of src/README.md. */
const listed = tableRows(readFileSync('src/README.md', 'utf8'), '| folder')
  .flatMap(([names]) => codeWords(names ?? ''))
  .filter((name) => !name.endsWith('.ts'));

interface BiomeOverride {
  includes: string[];
  linter: {
    rules: { style?: { noRestrictedImports?: { options: { patterns: { group: string[] }[] } } } };
  };
}

/** The imports that Biome forbids in a folder of src. */
function forbiddenIn(folder: string): string[] {
  const { overrides } = JSON.parse(readFileSync('biome.json', 'utf8')) as { overrides: BiomeOverride[] };
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
