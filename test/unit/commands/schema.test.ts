import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { schema } from '../../../src/commands/schema.ts';

const committed = readFileSync(new URL('../../../config/cambist.schema.json', import.meta.url), 'utf8');

test('prints the committed JSON Schema; if this fails, run "npm run schema"', async (t) => {
  const log = t.mock.method(console, 'log', () => undefined);
  assert.equal(await schema([]), 0);
  assert.equal(`${log.mock.calls[0]?.arguments[0]}\n`, committed);
});

test('takes no arguments', async () => {
  await assert.rejects(schema(['--config', 'x']), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
});

test('the JSON Schema describes each key', () => {
  const check = (node: unknown, path: string) => {
    if (typeof node !== 'object' || node === null) return;
    if ('properties' in node && typeof node.properties === 'object' && node.properties !== null) {
      for (const [key, value] of Object.entries(node.properties)) {
        assert.match(String(value.description), /^.{10,}/, `${path}.${key} has no description`);
        check(value, `${path}.${key}`);
      }
    }
    if ('additionalProperties' in node) check(node.additionalProperties, `${path}.*`);
    if ('items' in node) check(node.items, `${path}[]`);
  };
  const parsed = JSON.parse(committed);
  assert.equal(parsed.$schema, 'https://json-schema.org/draft/2020-12/schema');
  check(parsed, '');
  assert.equal(parsed.properties.listen.default, '127.0.0.1:8180');
  assert.equal(parsed.additionalProperties, false);
});
