import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { codeWords, fencedBlocks, tableRows } from '../../harness/markdown.ts';
import { anchorsOf, readProse } from '../../harness/pages.ts';
import { runProgram } from '../../harness/run-command.ts';

const FOLDER = 'config/recipes';
const INDEX = `${FOLDER}/README.md`;
const rows = tableRows(readFileSync(INDEX, 'utf8'), '| page ');
const pages = readdirSync(FOLDER).filter((name) => name !== 'README.md');

/** The example configs: not the schema, and not the realm of Keycloak. */
const examples = readdirSync('config').filter(
  (name) => /\.(yaml|json)$/.test(name) && !/(\.schema|-realm)\.json$/.test(name),
);

test('the index lists every page, and every example config once', () => {
  assert.deepEqual(rows.map(([page]) => /\((.*)\)/.exec(page ?? '')?.[1]).sort(), pages.sort());
  assert.deepEqual(rows.flatMap(([, , recipes]) => codeWords(recipes ?? '')).sort(), examples.sort());
});

test('every recipe names its page, and every page links to its recipes', () => {
  for (const [page = '', , recipes = ''] of rows) {
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
