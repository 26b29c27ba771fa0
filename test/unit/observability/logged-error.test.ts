import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { loggedError, redact } from '../../../src/observability/logged-error.ts';
import { keptBytesEach, longText } from '../../harness/heap.ts';

/** Every character of a token. */
const TOKEN_CHARACTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/';
const opaque = fc
  .string({ unit: fc.constantFrom(...TOKEN_CHARACTERS.replace('.', '')), minLength: 20, maxLength: 200 })
  .map((text) => `${text}==`);
const jwt = fc
  .tuple(
    fc.string({ unit: fc.constantFrom(...'abcXYZ019-_'), minLength: 1, maxLength: 60 }),
    fc.string({ unit: fc.constantFrom(...'abcXYZ019-_'), minLength: 1, maxLength: 60 }),
  )
  .map(([payload, signature]) => `eyJhbGciOiJFUzI1NiJ9.${payload}.${signature}`);
const prose = fc.string({ unit: fc.constantFrom(...'ab ,:"{}'), maxLength: 400 });

test('hides e-mail addresses', () => {
  assert.equal(redact('user alice.b+c@mail.example.com is not allowed'), 'user [redacted] is not allowed');
});

test('hides a token anywhere in a text', () => {
  fc.assert(
    fc.property(prose, fc.oneof(opaque, jwt), prose, (before, token, after) => {
      const text = redact(`${before} ${token} ${after}`);
      assert.ok(!text.includes(token));
      assert.ok(!text.includes(token.slice(0, 20)));
      assert.ok(!text.includes(token.slice(-20)));
    }),
    { numRuns: 2000 },
  );
});

test('hides a token in JSON, in a form and in a header', () => {
  const token = 'AbCdEfGhIjKlMnOpQrStUvWxYz0123456789';
  for (const text of [`{"refresh_token":"${token}"}`, `a=1&subject_token=${token}&b=2`, `Bearer ${token}`]) {
    assert.ok(!redact(text).includes(token), text);
    assert.match(redact(text), /\[redacted\]/);
  }
});

test('hides a percent-encoded token', () => {
  const encoded = encodeURIComponent('aB3+dE6/gH9+kL2/mN5+pQ8/sT1+vW4/yZ7+bC0==');
  assert.equal(redact(`failed: subject_token=${encoded}&a=b`), 'failed: [redacted]&a=b');
});

test('hides a token that is longer than the text may be', () => {
  const token = 'x'.repeat(19_000);
  assert.ok(!redact(`word ${token}`).includes('xxx'));
});

test('returns one short line of printable ASCII', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
      const redacted = redact(text);
      assert.match(redacted, /^[\x20-\x7e]*…?$/);
      assert.ok(redacted.length <= 301);
    }),
  );
});

test('leaves prose unchanged', () => {
  const text = 'Audience not found: "github-mcp" (connect ECONNREFUSED 127.0.0.1:8443)';
  assert.equal(redact(text), text);
});

test('keeps nothing of a long text but what it shows', () => {
  const bytesEach = keptBytesEach((i) => redact(longText(i)));
  assert.ok(bytesEach < 10_000, `${bytesEach} bytes each`);
});

test('returns code, message and causes, and no other property', () => {
  const hidden = { body: 'secret', request: { headers: 'secret' } };
  const cause = Object.assign(new Error('inner'), { code: 'ECONNRESET', ...hidden });
  const error = Object.assign(new TypeError('outer', { cause }), { response: 'secret' });
  assert.deepEqual(loggedError(error), {
    code: 'TypeError',
    message: 'outer',
    cause: { code: 'ECONNRESET', message: 'inner' },
  });
});

test('leaves the message of a CambistError unchanged and redacts that of its cause', () => {
  const token = 'AbCdEfGhIjKlMnOpQrStUvWxYz0123456789';
  const error = new CambistError('ERR_CLIENT_REFUSED', 'file "/var/run/secrets/cambist/client-secret" is empty', {
    cause: new Error(`refused ${token}`),
  });
  assert.deepEqual(loggedError(error), {
    code: 'ERR_CLIENT_REFUSED',
    message: error.message,
    cause: { code: 'Error', message: 'refused [redacted]' },
  });
});

test('accepts any thrown value', () => {
  for (const thrown of ['text', undefined, { token: 'secret' }]) {
    assert.deepEqual(loggedError(thrown), { code: undefined, message: String(thrown) });
  }
});

test('stops at five errors of a circular chain of causes', () => {
  const error = new Error('again');
  error.cause = error;
  assert.equal(JSON.stringify(loggedError(error)).match(/again/g)?.length, 5);
});
