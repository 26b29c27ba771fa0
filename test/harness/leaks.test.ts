import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLeakWatch } from './leaks.ts';

const SECRET = 'correct horse/battery+staple';
const JWT = `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.${'SignatureOfThisToken'.repeat(4)}`;

const LEAKS: [form: string, secret: string, text: string][] = [
  ['unencoded', SECRET, `client_secret=${SECRET}&`],
  ['urlencoded', SECRET, `client_secret=${encodeURIComponent(SECRET)}`],
  ['in JSON', 'a "quoted" secret', JSON.stringify({ secret: 'a "quoted" secret' })],
  ['in base64', SECRET, Buffer.from(SECRET).toString('base64')],
  ['in Basic, after a client id', SECRET, `Basic ${Buffer.from(`cambist:${SECRET}`).toString('base64')}`],
  ['in Basic, shifted by one byte', SECRET, `Basic ${Buffer.from(`a-cambist:${SECRET}`).toString('base64')}`],
  ['in Basic, shifted by two bytes', SECRET, `Basic ${Buffer.from(`my-cambist:${SECRET}...`).toString('base64')}`],
  ['in base64url', SECRET, Buffer.from(`xx${SECRET}yy`).toString('base64url')],
  ['truncated, as a token', JWT, `token ${JWT.slice(0, 80)}…`],
  ['without its beginning, as a token', JWT, `…${JWT.slice(-40)}`],
];

for (const [form, secret, text] of LEAKS) {
  test(`finds a secret ${form}`, () => {
    const watch = createLeakWatch();
    watch.remember(secret);
    assert.throws(() => watch.assertNoLeak({ stdout: text }), { name: 'AssertionError', message: /^stdout contains/ });
  });
}

test('reports a leak without the secret', () => {
  const watch = createLeakWatch();
  watch.remember(SECRET);
  assert.throws(
    () => watch.assertNoLeak({ stdout: SECRET }),
    (error: Error) => !error.message.includes(SECRET),
  );
});

test('accepts text without secrets, including the public parts of a token', () => {
  const watch = createLeakWatch();
  watch.remember(SECRET);
  watch.remember(JWT);
  watch.assertNoLeak({
    stdout: `{"sub":"alice","detail":"${JWT.split('.')[1]}"}`,
    metrics: 'cambist_requests_total 1',
  });
});

test('rejects a secret that is too short to search for', () => {
  assert.throws(() => createLeakWatch().remember('short'), RangeError);
});
