import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CambistError } from '../../../src/errors.ts';
import { LOG_FIELDS, type LogFields } from '../../../src/observability/log-fields.ts';
import { logLine } from '../../../src/observability/log-line.ts';
import { textLines } from '../../../src/observability/log-text.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import { printable, printableJson } from '../../../src/observability/printable.ts';

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
    '09:05:07.042 error GET not routed 502 ERR_UPSTREAM_UNREACHABLE  request_id=r-1',
    '                   route "a": unreachable',
    '                   because: outer',
    '                   because: inner',
    '',
  ]);
});

test('writes an exchange with its route, its server and whether it is a refresh', () => {
  const line = { msg: 'exchange', route: 'github', authorization_server: 'idp', result: 'success', duration_ms: 12 };
  assert.match(told(line), /info {2}exchange for github at idp success 12\.0 ms\n$/);
  const failure = { result: 'failure', error: 'ERR_CLIENT_REFUSED', oauth_error: 'invalid_client' };
  const refused = told({ ...line, ...failure, refresh: true });
  assert.match(refused, /refresh for github at idp ERR_CLIENT_REFUSED 12\.0 ms {2}oauth_error=invalid_client\n$/);
});

test('writes every other line as message and fields, and its cause and its fix below it', () => {
  assert.equal(told({ msg: 'ready', check: 'a.b', keys: ['x'] }), '09:05:07.042 info  ready  check=a.b keys=["x"]\n');
  const line = { level: 'warn', msg: 'not ready', finding: 'x', cause: 'the secret is wrong', fix: 'correct it' };
  assert.deepEqual(told(line).split('\n').slice(1), [
    '                   cause: the secret is wrong',
    '                   fix: correct it',
    '',
  ]);
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

const LEVELS = ['error', 'warn', 'info'] as const;

/** Any value that a field may have. Fractions have at most three digits, as durations in the log do. */
const value = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }),
  fc.constantFrom('"', '\\', '\n', '\u2028', '\ud800', 'plain'),
  fc.integer(),
  fc.double({ noInteger: true }).map((number) => Math.round(number * 1000) / 1000),
  fc.integer({ min: 1, max: 1e9 }).map((thousandths) => thousandths / 1000),
  fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, -0, -1.5, 1e21, 2 ** 53),
  fc.boolean(),
  fc.constant(undefined),
  fc.constant(null),
  fc.array(fc.string(), { maxLength: 3 }),
);
const error = fc.oneof(
  fc.string().map((message) => new CambistError('ERR_INTERNAL', message, { cause: new Error(message) })),
  fc.string(),
);
const fields = fc
  .tuple(fc.dictionary(fc.constantFrom(...LOG_FIELDS), value), fc.option(error, { nil: undefined }))
  .map(([named, err]) => {
    const { time: _time, level: _level, msg: _msg, ...rest } = named;
    return { ...rest, err } as LogFields;
  });

test('writes the same line as pino, whatever the fields and the message', () => {
  fc.assert(
    fc.property(fc.constantFrom(...LEVELS), fields, fc.string({ unit: 'binary' }), (level, given, message) => {
      const own = logLine(level, given, message);
      const lines: string[] = [];
      createLogger('info', { write: (line) => void lines.push(line) })[level](given, message);
      assert.match(own, /^[^\n]*\n$/);
      const [parsed, expected] = [own, lines.join('')].map((line) => JSON.parse(line) as Record<string, unknown>);
      assert.deepEqual({ ...parsed, time: '' }, { ...expected, time: '' });
    }),
    { numRuns: 2000 },
  );
});

test('rounds fractions to three digits', () => {
  for (const [ms, text] of [
    [1.23456, '1.235'],
    [0.0004, '0.000'],
    [59.9996, '60.000'],
    [7.05, '7.050'],
    [12, '12'],
  ] as const) {
    assert.match(logLine('info', { duration_ms: ms }, 'request'), new RegExp(`"duration_ms":${text},`));
  }
});

// DEL, CSI in one byte, an override, a zero-width space, a line separator, and a tag outside the basic plane.
const HOSTILE = 'a\u007f\u009b\u202e\u200b\u2028\u{e0041}\u001b\nö日😀';

test('replaces what could control or reorder a line', () => {
  assert.equal(printable(HOSTILE), 'a????????ö日😀');
});

test('escapes it in JSON, which means the same, and keeps its indentation', () => {
  const value = { [HOSTILE]: [HOSTILE] };
  const text = printableJson(value, 2);
  assert.deepEqual(JSON.parse(text), value);
  const [, line = ''] = text.split('\n');
  assert.equal(line, '  "a\\u007f\\u009b\\u202e\\u200b\\u2028\\udb40\\udc41\\u001b\\nö日😀": [');
  assert.equal(text.split('\n').length, 5);
  assert.equal(printableJson({ a: 1 }), '{"a":1}');
});
