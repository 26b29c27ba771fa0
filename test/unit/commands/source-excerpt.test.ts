import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { describeProblem } from '../../../src/commands/print-problems.ts';
import { excerptOf } from '../../../src/commands/source-excerpt.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { propertyRuns } from '../../harness/property-runs.ts';
import { FULL, type Json, pathsOf, replaceAt } from '../config/mutations.ts';

/** The excerpt of a line, with a caret below the column. */
function shown(line: string, column: number, message = ''): string[] {
  const excerpt = excerptOf(line, column, { path: '', message });
  return excerpt === undefined ? [] : [excerpt.text, `${' '.repeat(excerpt.column - 1)}^`];
}

test('shows keys and values that cannot be secret, with a caret at the column', () => {
  assert.deepEqual(shown('    upstream: htp://x/mcp', 15), ['    upstream: htp://x/mcp', '              ^']);
  assert.deepEqual(shown('"routes": [{"name": "a", "match": {"path": "mcp"}}]', 44), [
    '"routes": [{"name": "a", "match": {"path": "mcp"}}]',
    '                                           ^',
  ]);
  assert.deepEqual(shown('\tversion: 2', 11), [' version: 2', '          ^']);
});

const MASKED: [line: string, text: string][] = [
  [
    'client_auth: { method: none, client_secret: hunter, alg: ES256 }',
    'client_auth: { method: none, client_secret: …, alg: … }',
  ],
  ['client_secret: hun{ter,two} x', 'client_secret: …{…,…} …'],
  ['upstream: https://user:pw@host/x', 'upstream: …'],
  ['upstream: https://host/x?token=abc', 'upstream: …'],
  ['scope: "repo:read', 'scope: …'],
  ['audience: 7f3a9c0d7f3a9c0d7f3a9c0d # hunter', 'audience: …'],
  ['password: hunter', 'password: …'],
  ['secret: hunter', 'secret: …'],
  ['pseudonymize: { key: hunter }', 'pseudonymize: { key: … }'],
  ['extra_params: { tenant: hunter }', 'extra_params: { …: … }'],
];
for (const [line, text] of MASKED) {
  test(`masks values that may be secret: ${line}`, () => assert.equal(shown(line, 1)[0], text));
}

test('shows an unknown key only if the problem names it', () => {
  assert.deepEqual(shown('listn: 127.0.0.1', 1), []);
  assert.deepEqual(shown('listn: 127.0.0.1', 1, 'unknown key "listn"'), ['listn: …', '^']);
});

test('shows no line without a known key, and no long line', () => {
  assert.deepEqual(shown('  MIIEvQIBADANBgkqhkiG9w0BAQEFAASC', 3), []);
  assert.deepEqual(shown('hunter', 1), []);
  assert.deepEqual(shown(`version: ${'1'.repeat(1000)}`, 1), []);
});

test('cuts a long line to the part around the caret', () => {
  const line = `[${'{ name: a }, '.repeat(40)}]`;
  const [text = '', caret = ''] = shown(line, 300);
  assert.ok(text.length <= 101);
  assert.equal(text[0], '…');
  assert.ok(line.includes(text.slice(1)) && caret.length <= text.length);
});

/** No text of a problem has these characters by itself. */
const secrets = fc
  .array(fc.constantFrom(...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~+/=:@?#%&$*!{} '), {
    minLength: 12,
    maxLength: 40,
  })
  .map((characters) => `q9${characters.join('').trim()}z`);

function assertHidden(text: string, secret: string): void {
  for (const problem of parseConfig(text, 'c').problems) {
    const described = describeProblem(problem, text, false);
    assert.ok(!described.includes(secret), described);
  }
}

test('a secret in place of any value is never shown', () => {
  fc.assert(
    fc.property(fc.constantFrom(...pathsOf(FULL)), secrets, fc.boolean(), (path, secret, listed) => {
      const value: Json | undefined = replaceAt(FULL, path, listed ? [secret] : secret);
      assertHidden(stringify(value), secret);
      assertHidden(JSON.stringify(value, null, 2), secret);
    }),
    { numRuns: propertyRuns(200) },
  );
});

test('a secret at a syntax error is never shown', () => {
  const starts = [
    'client_secret:',
    'client_secret: @',
    'scope: b: ',
    'scope: {',
    'scope: !',
    'scope: "',
    "scope: x: '",
    'scope: &a ',
  ];
  fc.assert(
    fc.property(fc.constantFrom(...starts), secrets, (start, secret) => {
      assertHidden(`version: 1\n${start}${secret}`, secret);
      assertHidden(`version: 1\nlog:\n  level: { ${secret} }\n`, secret);
    }),
    { numRuns: propertyRuns(200) },
  );
});
