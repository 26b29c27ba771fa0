import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, complete, ok, type Respond, startHostileHttp2 } from '../../harness/hostile-http2.ts';
import { FLAG, FRAME, literal, STATUS_200 } from '../../harness/raw-http2.ts';

const withBlock =
  (block: Buffer): Respond =>
  (stream) =>
    complete(stream, block);
const withHeader = (name: string, value: string): Respond => withBlock(ok(literal(name, value)));
const withStatus = (status: string): Respond => withBlock(literal(':status', status));
const status = (value: number): Buffer => literal(':status', String(value));

const NO_CONTENT = bytes(0x89);
const NOT_MODIFIED = bytes(0x8b);

/** Malformed responses (RFC 9113 section 8.1.1). */
const FAILED: Record<string, Respond> = {
  'an upper-case name': withHeader('X-Upper', '1'),
  ...Object.fromEntries(
    ['connection', 'transfer-encoding', 'keep-alive', 'proxy-connection', 'upgrade'].map((name) => [
      name,
      withHeader(name, 'chunked'),
    ]),
  ),
  'a pseudo-header after a header': withBlock(Buffer.concat([literal('x', '1'), STATUS_200])),
  'an unknown pseudo-header': withHeader(':unknown', '1'),
  'a pseudo-header of requests': withHeader(':path', '/'),
  'two statuses': withBlock(Buffer.concat([STATUS_200, bytes(0x8d)])),
  'no status': withBlock(literal('x', '1')),
  ...Object.fromEntries(
    ['', 'abc', '20', '+20', '2000', ' 20', '20x', '099', '000', '-10', '2 0'].map((value) => [
      `the status "${value}"`,
      withStatus(value),
    ]),
  ),
  ...Object.fromEntries(
    ['-2', '+2', '', '2, 2', '0x2', '18446744073709551618'].map((value) => [
      `the length "${value}"`,
      withHeader('content-length', value),
    ]),
  ),
  'two lengths': withBlock(ok(literal('content-length', '2'), literal('content-length', '3'))),
  'a length above the body': withHeader('content-length', '10'),
  'a length below the body': withHeader('content-length', '1'),
  'a length and no body': (stream) => {
    stream.frame(FRAME.HEADERS, FLAG.END_STREAM | FLAG.END_HEADERS, ok(literal('content-length', '5')));
  },
  'a body after 204': withBlock(NO_CONTENT),
  'a length with 204': withBlock(Buffer.concat([NO_CONTENT, literal('content-length', '2')])),
  'a body after 304': withBlock(NOT_MODIFIED),
  'the status 101': withStatus('101'),
  'the status 101, which HTTP/2 does not have, before another': (stream) => {
    stream.block(status(101));
    complete(stream);
  },
  'an interim response that ends the stream': (stream) => {
    stream.frame(FRAME.HEADERS, FLAG.END_STREAM | FLAG.END_HEADERS, status(100));
  },
  'an interim response with a body': (stream) => {
    stream.block(status(103));
    stream.frame(FRAME.DATA, FLAG.END_STREAM, Buffer.from('ok'));
  },
  'more headers than a client keeps': withBlock(ok(...Array.from({ length: 500 }, (_, i) => literal(`x-${i}`, 'y')))),
};

for (const [what, respond] of Object.entries(FAILED)) {
  test(`fails a malformed response over HTTP/2: ${what}`, async (t) => {
    const { send } = await startHostileHttp2(t);
    const { last, headers } = await send(respond);
    assert.equal(last, 'error');
    assert.ok(!headers.includes('transfer-encoding'));
    const next = await send(complete);
    assert.deepEqual([next.status, next.body, next.last], [200, 'ok', 'end']);
  });
}

for (const [name, value] of [
  ['x', 'a\0b'],
  ['x', 'a\r\nx-injected: 1'],
  ['x', 'a\nx-injected: 1'],
  ['x', 'a\rx-injected: 1'],
  ['x\r\nx-injected', '1'],
  ['x y', '1'],
  ['x:y', '1'],
  ['', '1'],
] as const) {
  test(`drops a malformed header over HTTP/2: ${JSON.stringify(`${name}: ${value}`)}`, async (t) => {
    const { send } = await startHostileHttp2(t);
    const { status: code, body, last, headers } = await send(withHeader(name, value));
    assert.deepEqual([code, body, last, headers], [200, 'ok', 'end', []]);
  });
}

for (const [what, respond] of [
  [
    '100 for a request without a body',
    (stream) => {
      stream.block(status(100));
      complete(stream);
    },
  ],
  [
    '103',
    (stream) => {
      stream.block(Buffer.concat([status(103), literal('link', '</x>')]));
      complete(stream);
    },
  ],
] satisfies [string, Respond][]) {
  test(`drops an interim response over HTTP/2: ${what}`, async (t) => {
    const { send } = await startHostileHttp2(t);
    const { status: code, body, last, headers } = await send(respond);
    assert.deepEqual([code, body, last, headers], [200, 'ok', 'end', []]);
  });
}

test('relays headers over HTTP/2 that are named like members of an object', async (t) => {
  const { send } = await startHostileHttp2(t);
  const { headers } = await send(withBlock(ok(literal('__proto__', 'a'), literal('constructor', 'b'))));
  assert.deepEqual(headers, ['__proto__', 'a', 'constructor', 'b']);
});

test('fails a response to HEAD over HTTP/2 that has a body, and accepts its length without one', async (t) => {
  const { send } = await startHostileHttp2(t);
  assert.equal((await send(complete, 'HEAD')).last, 'error');
  const { status: code, last } = await send((stream) => {
    stream.frame(FRAME.HEADERS, FLAG.END_STREAM | FLAG.END_HEADERS, ok(literal('content-length', '5')));
  }, 'HEAD');
  assert.deepEqual([code, last], [200, 'end']);
});
