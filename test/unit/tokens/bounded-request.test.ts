import assert from 'node:assert/strict';
import type { LookupFunction } from 'node:net';
import { type TestContext, test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import {
  boundedRequest,
  ResponseTooLargeError,
  readRetryAfter,
  toRequestUrl,
} from '../../../src/tokens/bounded-request.ts';
import { processTokenResponse } from '../../../src/tokens/token-response.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { type Fault, respondWithFault } from '../../harness/fake-authorization-server.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import { dispatcherOf, expectedResponse } from './sample.ts';

const LIMIT_BYTES = 256 * 1024;
const HOUR_MS = 3_600_000;

async function setUp(t: TestContext, fault: Fault, options: { lookup?: LookupFunction } = {}) {
  const paths: string[] = [];
  let broken = 0;
  const server = await startHttpServer((request, response) => {
    paths.push(`${request.method} ${request.url}`);
    request.socket.once('close', () => {
      broken += 1;
    });
    void respondWithFault(fault, response);
  });
  t.after(server.close);
  const dispatcher = dispatcherOf(t, options);
  const host = options.lookup === undefined ? '127.0.0.1' : 'server.test';
  const ask = (timeoutMs = 5000) =>
    boundedRequest(dispatcher, {
      method: 'POST',
      url: toRequestUrl(`http://${host}:${server.port}/token`),
      headers: {},
      body: 'a=b',
      untilMs: performance.now() + timeoutMs,
    });
  return { ask, paths, connectionBreaks: () => eventually('the connection breaks', () => broken === 1) };
}

for (const [sent, text, retryAfter] of [
  ['7', 'größer', '7'],
  [['1', '2'], '', undefined],
  [undefined, '', undefined],
] as const) {
  test(`reads a complete response, with its status and a single Retry-After: ${sent}`, async (t) => {
    const headers = sent === undefined ? {} : { 'Retry-After': sent as string | string[] };
    const { ask } = await setUp(t, { kind: 'response', status: 503, body: text, headers });
    assert.deepEqual(await ask(), { status: 503, retryAfter, dpopNonce: undefined, text });
  });
}

for (const status of [301, 302, 303, 307, 308]) {
  test(`does not follow a redirect ${status}`, async (t) => {
    const { ask, paths } = await setUp(t, { kind: 'response', status, headers: { location: '/elsewhere' } });
    assert.equal((await ask()).status, status);
    assert.deepEqual(paths, ['POST /token']);
  });
}

test('reads a response of the maximum size, and closes the connection of a larger one', async (t) => {
  const { ask } = await setUp(t, { kind: 'response', status: 200, body: 'x'.repeat(LIMIT_BYTES) });
  assert.equal((await ask()).text.length, LIMIT_BYTES);
  const larger = await setUp(t, { kind: 'response', status: 200, body: 'x'.repeat(LIMIT_BYTES + 1) });
  await assert.rejects(larger.ask(), ResponseTooLargeError);
  await larger.connectionBreaks();
  const huge = await setUp(t, { kind: 'huge', bytes: 50 * LIMIT_BYTES });
  await assert.rejects(huge.ask(), /larger than 262144 bytes/);
  await huge.connectionBreaks();
});

for (const fault of [{ kind: 'hang' }, { kind: 'drip', intervalMs: 5 }] as const) {
  test(`closes the connection of a server that does ${fault.kind} at the deadline`, async (t) => {
    const { ask, connectionBreaks } = await setUp(t, fault);
    await assert.rejects(ask(500), { name: 'TimeoutError' });
    await connectionBreaks();
  });
}

test('sends nothing of a request whose deadline passed while connecting', async (t) => {
  let connectNow: (() => void) | undefined;
  const lookup: LookupFunction = (_host, _options, callback) => {
    connectNow = () => callback(null, [{ address: '127.0.0.1', family: 4 }]);
  };
  const { ask, paths } = await setUp(t, { kind: 'response', status: 200 }, { lookup });
  await assert.rejects(soon('the request fails', ask(50)), { name: 'TimeoutError' });
  connectNow?.();
  await ask();
  assert.deepEqual(paths, ['POST /token']);
});

test('does not connect after the deadline', async (t) => {
  let lookups = 0;
  const lookup: LookupFunction = () => {
    lookups += 1;
  };
  const { ask } = await setUp(t, { kind: 'response', status: 200 }, { lookup });
  await assert.rejects(soon('the request fails', ask(0)), { name: 'TimeoutError' });
  assert.equal(lookups, 0);
});

test('clears the timer of a request that completed, or failed because the connection broke', async (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const { ask } = await setUp(t, { kind: 'response', status: 200 });
  const before = timers();
  const asking = ask(HOUR_MS);
  assert.ok(timers() > before);
  await asking;
  assert.equal(timers(), before);
  const broken = await setUp(t, { kind: 'reset' });
  await assert.rejects(broken.ask(HOUR_MS));
  assert.equal(timers(), before);
});

const NOW = Date.parse('2026-11-24T12:00:00Z');

const values: [value: string | undefined, seconds: number | undefined][] = [
  [' 7 ', 7],
  ['0', 1],
  ['61', 60],
  ['Tue, 24 Nov 2026 12:00:30 GMT', 30],
  ['Tue Nov 24 12:00:30 2026', undefined],
  ['Tue, 24 Nov 2026 11:00:00 GMT', 1],
  ['Wed, 25 Nov 2026 12:00:00 GMT', 60],
  ['Tue, 99 Nov 2026 12:00:30 GMT', undefined],
  [undefined, undefined],
  ['-7', undefined],
  ['7.5', undefined],
  ['soon', undefined],
  ['7, 8', undefined],
];
for (const [value, seconds] of values) {
  test(`reads Retry-After ${JSON.stringify(value)} as ${seconds ?? 'no number of'} seconds`, () => {
    assert.equal(readRetryAfter(value, NOW), seconds);
  });
}

test('passes Retry-After on with a fault, but not with a refusal', () => {
  for (const [status, seconds] of [
    [503, 7],
    [429, 7],
    [400, undefined],
  ] as const) {
    const response = { status, retryAfter: '7', text: '' };
    assert.throws(
      () => processTokenResponse(response, expectedResponse(), NOW),
      (error) => error instanceof CambistError && error.retryAfterSeconds === seconds,
    );
  }
});
