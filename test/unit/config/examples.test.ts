import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { formatProblem } from '../../../src/config/config-node.ts';
import { parseConfig } from '../../../src/config/load.ts';

const FOLDER = new URL('../../../config/', import.meta.url);
/** Files for other programs. */
const OTHERS = /\.schema\.json$|-realm\.json$/;
const files = (await readdir(FOLDER)).filter((file) => /\.(yaml|json)$/.test(file) && !OTHERS.test(file));

test('finds example configs', () => {
  assert.ok(files.length >= 8);
});

for (const file of files) {
  test(`accepts the example ${file} without a warning, and finds its schema`, async () => {
    const text = await readFile(new URL(file, FOLDER), 'utf8');
    const { config, problems } = parseConfig(text, file);
    assert.deepEqual(problems.map(formatProblem), []);
    assert.ok(config !== undefined);
    if (file.endsWith('.json')) assert.equal(JSON.parse(text).$schema, './cambist.schema.json');
    else assert.ok(text.startsWith('# yaml-language-server: $schema=./cambist.schema.json\n'));
  });
}
