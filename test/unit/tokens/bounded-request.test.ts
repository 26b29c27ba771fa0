import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Agent } from 'undici';
import { boundedRequest } from '../../../src/tokens/bounded-request.ts';
import { answerWithFault, type Fault } from '../../harness/faults.ts';
import { startHttpServer } from '../../harness/http-server.ts';

const LIMIT_BYTES = 256 * 1024;

async function setUp(t: TestContext, fault: Fault) {
  const paths: string[] = [];
  const server = await startHttpServer((request, response) => {
    paths.push(`${request.method} ${request.url}`);
    void answerWithFault(fault, response);
  });
  const agent = new Agent({ headersTimeout: 0, bodyTimeout: 0 });
  t.after(async () => {
    await agent.destroy();
    await server.close();
  });
  const ask = (timeoutMs = 5000) =>
    boundedRequest(agent, {
      method: 'POST',
      url: `${server.url}/token`,
      headers: {},
      body: 'a=b',
      signal: AbortSignal.timeout(timeoutMs),
    });
  return { ask, paths };
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

test('an answer as large as may be is read, and a larger one is given up', async (t) => {
  const { ask } = await setUp(t, { kind: 'answer', status: 200, body: 'x'.repeat(LIMIT_BYTES) });
  assert.equal((await ask()).text.length, LIMIT_BYTES);
  const larger = await setUp(t, { kind: 'answer', status: 200, body: 'x'.repeat(LIMIT_BYTES + 1) });
  await assert.rejects(larger.ask(), /larger than 262144 bytes/);
  const huge = await setUp(t, { kind: 'huge', bytes: 50 * LIMIT_BYTES });
  await assert.rejects(huge.ask(), /larger than 262144 bytes/);
});

for (const fault of [{ kind: 'hang' }, { kind: 'drip', intervalMs: 5 }] as const) {
  test(`a server that does ${fault.kind} is given up when the time is over`, async (t) => {
    const { ask } = await setUp(t, fault);
    const startedMs = performance.now();
    await assert.rejects(ask(100));
    const tookMs = performance.now() - startedMs;
    assert.ok(tookMs > 90 && tookMs < 3000, `it took ${tookMs} ms`);
  });
}

test('a connection that breaks is an error', async (t) => {
  const { ask } = await setUp(t, { kind: 'reset' });
  await assert.rejects(ask());
});
