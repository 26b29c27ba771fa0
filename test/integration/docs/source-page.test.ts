import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { codeWords, tableRows } from '../../harness/markdown.ts';

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
