import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { textLines } from '../../../src/observability/log-text.ts';

const time = new Date(2026, 10, 24, 9, 5, 7, 42).toISOString();

/** The text without colours. */
function told(line: Record<string, unknown>): string {
  return textLines(false)(`${JSON.stringify({ level: 'info', time, ...line })}\n`);
}

test('writes a request as one sentence: method, route and result', () => {
  const line = {
    msg: 'request',
    request_id: 'r-1',
    route: 'github',
    method: 'POST',
    status: 200,
    outcome: 'forwarded',
    cache: 'hit',
    duration_ms: 1.234,
    total_ms: 2,
  };
  assert.equal(told(line), '09:05:07.042 info  POST github 200 forwarded hit 1.2 ms  request_id=r-1 total_ms=2\n');
});

test('writes the routes and the URL of the status page below the line about the start', () => {
  const line = {
    msg: 'cambist is listening',
    version: '0.1.0',
    listen: 'http://127.0.0.1:8180',
    admin: 'http://0.0.0.0:9180',
    config: 'cambist.yaml',
    routes: ['github: http://127.0.0.1:8180/github → https://github-mcp.example.com/mcp (aud github-mcp)'],
  };
  assert.deepEqual(told(line).split('\n'), [
    '09:05:07.042 info  cambist is listening  version=0.1.0 listen=http://127.0.0.1:8180 admin=http://0.0.0.0:9180 config=cambist.yaml',
    '                   github: http://127.0.0.1:8180/github → https://github-mcp.example.com/mcp (aud github-mcp)',
    '                   status page: http://127.0.0.1:9180/',
    '',
  ]);
});

test('writes the cause of an error and its fix below the line', () => {
  const line = { level: 'warn', msg: 'not ready', finding: 'x', cause: 'the secret is wrong', fix: 'correct it' };
  assert.deepEqual(told(line).split('\n').slice(1), [
    '                   cause: the secret is wrong',
    '                   fix: correct it',
    '',
  ]);
});

test('writes an error and its causes below the line', () => {
  const line = {
    level: 'error',
    msg: 'request',
    request_id: 'r-1',
    method: 'GET',
    status: 502,
    outcome: 'failed',
    error: 'ERR_UPSTREAM_UNREACHABLE',
    err: { code: 'X', message: 'route "a": unreachable', cause: { message: 'outer', cause: { message: 'inner' } } },
  };
  assert.deepEqual(told(line).split('\n'), [
    '09:05:07.042 error GET no route 502 ERR_UPSTREAM_UNREACHABLE  request_id=r-1',
    '                   route "a": unreachable',
    '                   because: outer',
    '                   because: inner',
    '',
  ]);
});

test('writes an exchange with its route, its server and whether it is a refresh', () => {
  const line = { msg: 'exchange', route: 'github', authorization_server: 'idp', result: 'success', duration_ms: 12 };
  assert.match(told(line), /info {2}exchange for github at idp success 12\.0 ms\n$/);
  const refused = {
    ...line,
    refresh: true,
    result: 'failure',
    error: 'ERR_CLIENT_REFUSED',
    oauth_error: 'invalid_client',
  };
  assert.match(told(refused), /refresh for github at idp ERR_CLIENT_REFUSED 12\.0 ms {2}oauth_error=invalid_client\n$/);
});

test('writes every other line as message and fields', () => {
  assert.equal(told({ msg: 'ready', check: 'a.b', keys: ['x'] }), '09:05:07.042 info  ready  check=a.b keys=["x"]\n');
});

test('uses colours only for terminals', () => {
  const coloured = textLines(true)(JSON.stringify({ level: 'warn', time, msg: 'x' }));
  assert.ok(coloured.includes('\u001b[33mwarn'));
  assert.ok(!told({ level: 'warn', msg: 'x' }).includes('\u001b'));
});

test('writes no control or invisible characters, whatever the line', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (field, message) => {
      const text = told({ msg: message, route: field, err: { message, cause: { message: field } } });
      assert.doesNotMatch(text.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\u2028\u2029]/u);
      assert.ok(text.split('\n').length <= 4);
    }),
  );
});

test('leaves text other than JSON unchanged', () => {
  for (const text of ['plain\n', '"text"\n', 'null\n']) assert.equal(textLines(true)(text), text);
});
