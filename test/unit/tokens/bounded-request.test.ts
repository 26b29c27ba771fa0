import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Agent, buildConnector } from 'undici';
import { AnswerTooLargeError, boundedRequest, toRequestUrl } from '../../../src/tokens/bounded-request.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { answerWithFault, type Fault } from '../../harness/faults.ts';
import { startHttpServer } from '../../harness/http-server.ts';

const LIMIT_BYTES = 256 * 1024;
const HOUR_MS = 3_600_000;

async function setUp(t: TestContext, fault: Fault, connect: buildConnector.connector = buildConnector({})) {
  const paths: string[] = [];
  let broken = 0;
  const server = await startHttpServer((request, response) => {
    paths.push(`${request.method} ${request.url}`);
    request.socket.once('close', () => {
      broken += 1;
    });
    void answerWithFault(fault, response);
  });
  const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0, connect });
  t.after(async () => {
    await agent.destroy();
    await server.close();
  });
  const ask = (timeoutMs = 5000) =>
    boundedRequest(agent, {
      method: 'POST',
      url: toRequestUrl(`${server.url}/token`),
      headers: {},
      body: 'a=b',
      untilMs: performance.now() + timeoutMs,
    });
  return { ask, paths, connectionBreaks: () => eventually('its connection breaks', () => broken === 1) };
}

test('an answer is read whole, with its status and Retry-After', async (t) => {
  const headers = { 'retry-after': '7' };
  const { ask } = await setUp(t, { kind: 'answer', status: 503, body: 'größer', headers });
  assert.deepEqual(await ask(), { status: 503, retryAfter: '7', text: 'größer' });
});

test('an answer without Retry-After has none, and neither has one with two', async (t) => {
  const { ask } = await setUp(t, { kind: 'answer', status: 200 });
  assert.deepEqual(await ask(), { status: 200, retryAfter: undefined, text: '' });
  const twice = await setUp(t, { kind: 'answer', status: 503, headers: { 'Retry-After': ['1', '2'] } });
  assert.equal((await twice.ask()).retryAfter, undefined);
});

for (const status of [301, 302, 303, 307, 308]) {
  test(`a redirect with ${status} is an answer, and not followed`, async (t) => {
    const { ask, paths } = await setUp(t, { kind: 'answer', status, headers: { location: '/elsewhere' } });
    assert.equal((await ask()).status, status);
    assert.deepEqual(paths, ['POST /token']);
  });
}

test('an answer as large as may be is read, and a larger one is given up with its connection', async (t) => {
  const { ask } = await setUp(t, { kind: 'answer', status: 200, body: 'x'.repeat(LIMIT_BYTES) });
  assert.equal((await ask()).text.length, LIMIT_BYTES);
  const larger = await setUp(t, { kind: 'answer', status: 200, body: 'x'.repeat(LIMIT_BYTES + 1) });
  await assert.rejects(larger.ask(), AnswerTooLargeError);
  await larger.connectionBreaks();
  const huge = await setUp(t, { kind: 'huge', bytes: 50 * LIMIT_BYTES });
  await assert.rejects(huge.ask(), /larger than 262144 bytes/);
  await huge.connectionBreaks();
});

for (const fault of [{ kind: 'hang' }, { kind: 'drip', intervalMs: 5 }] as const) {
  test(`a server that does ${fault.kind} is given up with its connection when the time is over`, async (t) => {
    const { ask, connectionBreaks } = await setUp(t, fault);
    const startedMs = performance.now();
    await assert.rejects(ask(100), { name: 'TimeoutError' });
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs > 90 && tookMs < 3000, `it took ${tookMs} ms`);
    await connectionBreaks();
  });
}

test('a server that cannot be connected to in time is given up, and hears of the next request alone', async (t) => {
  const connect = buildConnector({});
  let goOn: (() => void) | undefined;
  const { ask, paths } = await setUp(t, { kind: 'answer', status: 200 }, (options, callback) => {
    if (goOn !== undefined) return connect(options, callback);
    goOn = () => connect(options, callback);
  });
  await assert.rejects(soon('the end', ask(50)), { name: 'TimeoutError' });
  goOn?.();
  await ask();
  assert.deepEqual(paths, ['POST /token']);
});

test('nothing is connected to where the time was over before', async (t) => {
  let connects = 0;
  const { ask } = await setUp(t, { kind: 'answer', status: 200 }, () => {
    connects += 1;
  });
  await assert.rejects(soon('the end', ask(0)), { name: 'TimeoutError' });
  assert.equal(connects, 0);
});

test('nothing waits for the deadline of a request that is done, or has failed', async (t) => {
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const { ask } = await setUp(t, { kind: 'answer', status: 200 });
  const before = timers();
  const asking = ask(HOUR_MS);
  assert.ok(timers() > before);
  await asking;
  assert.equal(timers(), before);
  const broken = await setUp(t, { kind: 'reset' });
  await assert.rejects(broken.ask(HOUR_MS));
  assert.equal(timers(), before);
});

test('a connection that breaks is an error', async (t) => {
  const { ask } = await setUp(t, { kind: 'reset' });
  await assert.rejects(ask());
});
