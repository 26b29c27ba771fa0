import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { createLogger, loggedError, redact } from '../../../src/observability/logger.ts';

/** As long as a secret has to be that is worth the name. */
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

describe('a text from outside', () => {
  test('never keeps a token, wherever in it the token stands', () => {
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

  test('never keeps a token that stands in JSON, in a form or in a header', () => {
    const token = 'AbCdEfGhIjKlMnOpQrStUvWxYz0123456789';
    for (const text of [`{"refresh_token":"${token}"}`, `a=1&subject_token=${token}&b=2`, `Bearer ${token}`]) {
      assert.ok(!redact(text).includes(token), text);
      assert.match(redact(text), /\[redacted\]/);
    }
  });

  test('never keeps a token that is percent-encoded', () => {
    const encoded = encodeURIComponent('aB3+dE6/gH9+kL2/mN5+pQ8/sT1+vW4/yZ7+bC0==');
    assert.equal(redact(`failed: subject_token=${encoded}&a=b`), 'failed: [redacted]&a=b');
  });

  test('never keeps a piece of a token that the cut to a length goes through', () => {
    const token = 'x'.repeat(19_000);
    assert.ok(!redact(`word ${token}`).includes('xxx'));
  });

  test('is one line of printable ASCII, and short', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 2000 }), (text) => {
        const redacted = redact(text);
        assert.match(redacted, /^[\x20-\x7e]*…?$/);
        assert.ok(redacted.length <= 301);
      }),
    );
  });

  test('stays readable where it is prose', () => {
    const text = 'Audience not found: "github-mcp" (connect ECONNREFUSED 127.0.0.1:8443)';
    assert.equal(redact(text), text);
  });
});

describe('an error in the log', () => {
  test('is its code, its message and its causes, and no other property', () => {
    const cause = Object.assign(new Error('inner'), {
      code: 'ECONNRESET',
      body: 'secret',
      request: { headers: 'secret' },
    });
    const error = Object.assign(new TypeError('outer', { cause }), { response: 'secret' });
    assert.deepEqual(loggedError(error), {
      code: 'TypeError',
      message: 'outer',
      cause: { code: 'ECONNRESET', message: 'inner' },
    });
  });

  test('keeps our own message whole and redacts that of its cause', () => {
    const token = 'AbCdEfGhIjKlMnOpQrStUvWxYz0123456789';
    const error = new CambistError('ERR_CLIENT_REFUSED', 'file "/var/run/secrets/cambist/client-secret" is empty', {
      cause: new Error(`refused ${token}`),
    });
    const { code, message, cause } = loggedError(error);
    assert.equal(code, 'ERR_CLIENT_REFUSED');
    assert.equal(message, 'file "/var/run/secrets/cambist/client-secret" is empty');
    assert.equal(cause?.message, 'refused [redacted]');
  });

  test('may be anything that was thrown', () => {
    assert.deepEqual(loggedError('text'), { code: undefined, message: 'text' });
    assert.deepEqual(loggedError(undefined), { code: undefined, message: 'undefined' });
    assert.deepEqual(loggedError({ token: 'secret' }), { code: undefined, message: '[object Object]' });
  });

  test('ends somewhere, though each error is the cause of the next', () => {
    const error = new Error('again');
    error.cause = error;
    assert.equal(JSON.stringify(loggedError(error)).match(/again/g)?.length, 5);
  });
});

describe('the logger', () => {
  function logged(write: (logger: ReturnType<typeof createLogger>) => void, level: 'info' | 'warn' = 'info') {
    const lines: string[] = [];
    write(createLogger(level, { write: (line: string) => void lines.push(line) }));
    return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  test('writes JSON lines with a level by name and an ISO time, and without process or host', () => {
    const [line] = logged((logger) => logger.info({ route: 'github' }, 'request'));
    assert.match(String(line?.time), /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assert.deepEqual({ ...line, time: '' }, { level: 'info', time: '', route: 'github', msg: 'request' });
  });

  test('keeps what is below its level to itself', () => {
    assert.equal(logged((logger) => logger.info('x'), 'warn').length, 0);
  });

  test('reduces an error under "err" to what may be logged', () => {
    const [line] = logged((logger) => logger.warn({ err: Object.assign(new Error('m'), { body: 'secret' }) }, 'x'));
    assert.deepEqual(line?.err, { code: 'Error', message: 'm' });
  });
});
