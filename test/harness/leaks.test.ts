import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLeakWatch } from './leaks.ts';

const SECRET = 'correct horse/battery+staple';
const JWT = `eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.${'SignatureOfThisToken'.repeat(4)}`;

const LEAKS: [what: string, secret: string, text: string][] = [
  ['as it is', SECRET, `client_secret=${SECRET}&`],
  ['urlencoded', SECRET, `client_secret=${encodeURIComponent(SECRET)}`],
  ['in JSON', 'a "quoted" secret', JSON.stringify({ secret: 'a "quoted" secret' })],
  ['in base64', SECRET, Buffer.from(SECRET).toString('base64')],
  ['in Basic, after an id', SECRET, `Basic ${Buffer.from(`cambist:${SECRET}`).toString('base64')}`],
  ['in Basic, one byte on', SECRET, `Basic ${Buffer.from(`a-cambist:${SECRET}`).toString('base64')}`],
  ['in Basic, two bytes on', SECRET, `Basic ${Buffer.from(`my-cambist:${SECRET}...`).toString('base64')}`],
  ['in base64url', SECRET, Buffer.from(`xx${SECRET}yy`).toString('base64url')],
  ['cut, as a token', JWT, `token ${JWT.slice(0, 80)}…`],
  ['without its head, as a token', JWT, `…${JWT.slice(-40)}`],
];

for (const [what, secret, text] of LEAKS) {
  test(`a secret is found ${what}`, () => {
    const watch = createLeakWatch();
    watch.remember(secret);
    assert.throws(() => watch.assertNoLeak({ stdout: text }), { name: 'AssertionError', message: /^stdout holds/ });
  });
}

test('a leak is reported without the secret', () => {
  const watch = createLeakWatch();
  watch.remember(SECRET);
  assert.throws(
    () => watch.assertNoLeak({ stdout: SECRET }),
    (error: Error) => !error.message.includes(SECRET),
  );
});

test('text that holds no secret passes, the public parts of a token included', () => {
  const watch = createLeakWatch();
  watch.remember(SECRET);
  watch.remember(JWT);
  watch.assertNoLeak({
    stdout: `{"sub":"alice","detail":"${JWT.split('.')[1]}"}`,
    metrics: 'cambist_requests_total 1',
  });
});

test('a secret too short to be told from other text is refused', () => {
  assert.throws(() => createLeakWatch().remember('short'), RangeError);
});
