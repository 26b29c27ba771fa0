import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ERROR_CODES } from '../src/error-catalogue.ts';
import { formsOf, RECORD_VARIABLE, RECORDED } from './harness/leaks.ts';

/** The length of the prefix by which secrets are looked up at each position of the text. */
const PREFIX_LENGTH = 12;

function read(folder: string, extension: string): string {
  const names = readdirSync(folder).filter((name) => name.endsWith(extension));
  return names.map((name) => readFileSync(join(folder, name), 'utf8')).join('');
}

/** Finds secrets in a text, in one pass for all secrets. Returns the form of each found secret and its line. */
function find(text: string, secrets: Iterable<string>): string[] {
  const byPrefix = new Map<string, { form: string; needle: string }[]>();
  for (const secret of secrets) {
    for (const [form, needle] of formsOf(secret)) {
      if (needle.length < PREFIX_LENGTH) continue;
      const prefix = needle.slice(0, PREFIX_LENGTH);
      byPrefix.set(prefix, [...(byPrefix.get(prefix) ?? []), { form, needle }]);
    }
  }
  const found: string[] = [];
  for (let at = 0; at + PREFIX_LENGTH <= text.length; at += 1) {
    for (const { form, needle } of byPrefix.get(text.slice(at, at + PREFIX_LENGTH)) ?? []) {
      if (!text.startsWith(needle, at)) continue;
      const line = text.slice(text.lastIndexOf('\n', at) + 1, text.indexOf('\n', at + needle.length));
      found.push(`a secret, ${form}, in: ${line.replaceAll(needle, '[the secret]').slice(0, 300)}`);
    }
  }
  return found;
}

/** Internal errors. There is no known way to provoke one from outside. */
const NOT_PROVOKED = ['ERR_INTERNAL'];

const folder = process.env[RECORD_VARIABLE];
assert.ok(folder !== undefined, 'these tests run after all others: npx tsx test/run.ts');
const logged = read(folder, RECORDED.logged);

test('cambist logs no secret of any test in a full run', () => {
  const secrets = new Set(
    read(folder, RECORDED.secrets)
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as string),
  );
  assert.ok(secrets.size > 100, `${secrets.size} secrets`);
  assert.ok(logged.includes('"msg":"request"'), 'the log contains requests');
  // The search must find an existing secret.
  const [known = ''] = secrets;
  assert.equal(find(`{"x":"${encodeURIComponent(known)}"}\n`, [known]).length > 0, true);
  assert.deepEqual(find(logged, secrets), []);
});

test('requests of a full run fail with every error code', () => {
  const requests = logged.split('\n').filter((line) => line.includes('"msg":"request"'));
  const provoked = new Set(requests.map((line) => /"error":"(ERR_\w+)"/.exec(line)?.[1]));
  assert.deepEqual(
    ERROR_CODES.filter((code) => !provoked.has(code)),
    NOT_PROVOKED,
  );
});
