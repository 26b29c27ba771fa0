import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { formsOf } from './harness/leaks.ts';
import { RECORD_VARIABLE, RECORDED } from './harness/suite-record.ts';

/** As long as the beginning of a secret has to be to be looked up at each place of a text. */
const BEGINNING = 12;

function read(folder: string, ending: string): string {
  const names = readdirSync(folder).filter((name) => name.endsWith(ending));
  return names.map((name) => readFileSync(join(folder, name), 'utf8')).join('');
}

/** What is in the text, as its kind and its place: many secrets are looked for in one pass. */
function find(text: string, secrets: Iterable<string>): string[] {
  const byBeginning = new Map<string, { form: string; needle: string }[]>();
  for (const secret of secrets) {
    for (const [form, needle] of formsOf(secret)) {
      if (needle.length < BEGINNING) continue;
      const beginning = needle.slice(0, BEGINNING);
      byBeginning.set(beginning, [...(byBeginning.get(beginning) ?? []), { form, needle }]);
    }
  }
  const found: string[] = [];
  for (let at = 0; at + BEGINNING <= text.length; at += 1) {
    for (const { form, needle } of byBeginning.get(text.slice(at, at + BEGINNING)) ?? []) {
      if (!text.startsWith(needle, at)) continue;
      const line = text.slice(text.lastIndexOf('\n', at) + 1, text.indexOf('\n', at + needle.length));
      found.push(`a secret, ${form}, in: ${line.replaceAll(needle, '[the secret]').slice(0, 300)}`);
    }
  }
  return found;
}

test('no secret of any test is in anything that any cambist of the whole suite logged', () => {
  const folder = process.env[RECORD_VARIABLE];
  assert.ok(folder !== undefined, 'this test follows a run of the whole suite: npx tsx test/run.ts');
  const secrets = new Set(
    read(folder, RECORDED.secrets)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as string),
  );
  const text = read(folder, RECORDED.logged);
  assert.ok(secrets.size > 100, `${secrets.size} secrets`);
  assert.ok(text.includes('"msg":"request"'), 'something was logged');
  // That the search finds what is there.
  const [some = ''] = secrets;
  assert.equal(find(`{"x":"${encodeURIComponent(some)}"}\n`, [some]).length > 0, true);
  assert.deepEqual(find(text, secrets), []);
});
