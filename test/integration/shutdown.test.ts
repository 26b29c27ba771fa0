import assert from 'node:assert/strict';
import { Agent } from 'node:http';
import { test } from 'node:test';
import { deferred } from '../harness/deferred.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { sendResponse } from '../harness/faults.ts';
import { startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw, open } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';

/** An upstream that responds when the test calls `respond`. */
function manualUpstream() {
  const { promise: released, resolve: respond } = deferred<void>();
  return {
    respond: () => respond(),
    handler: async (_received: unknown, response: Parameters<typeof sendResponse>[0]) => {
      await released;
      sendResponse(response, 200, 'done');
    },
  };
}

test('finishes requests in flight, refuses new ones, and closes all connections on shutdown', async (t) => {
  const { respond, handler } = manualUpstream();
  const { app, upstream } = await startPlainGateway(t, { handler });
  const idle = await connectRaw(app.url);
  const inFlight = call(`${app.url}/plain`);
  await eventually('the upstream has the request', () => upstream.requests.length === 1);
  const stopped = app.stop();
  const refused = await call(`${app.url}/plain`);
  assertProblem(refused, 'ERR_SHUTTING_DOWN');
  assert.match(refused.headers['retry-after'] ?? '', /^\d+$/);
  assert.equal(refused.headers.connection, 'close');
  respond();
  const response = await inFlight;
  assert.deepEqual([response.status, response.text], [200, 'done']);
  await soon('the proxy has stopped', stopped);
  await soon('an idle connection is closed', idle.closed());
  await assert.rejects(call(`${app.url}/plain`), { code: 'ECONNREFUSED' });
  await assert.rejects(call(`${app.admin}/livez`), { code: 'ECONNREFUSED' });
  assert.equal(upstream.requests.length, 1);
});

test('closes idle kept-alive connections at the start of a shutdown, and the others after their response', async (t) => {
  const { respond, handler } = manualUpstream();
  const { app, upstream } = await startPlainGateway(t, {
    handler: async (received, response) => {
      if (received.url.endsWith('/held')) await handler(received, response);
      else sendResponse(response, 200, 'ok');
    },
  });
  const agent = new Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const kept = () => Object.values(agent.freeSockets).flat().length;
  const held = call(`${app.url}/plain/held`, { agent });
  await eventually('the upstream has the request', () => upstream.requests.length === 1);
  assert.equal((await call(`${app.url}/plain`, { agent })).status, 200);
  await eventually('the client keeps its connection', () => kept() === 1);
  const stopped = app.stop();
  await eventually('the idle connection is closed', () => kept() === 0);
  respond();
  const response = await held;
  assert.deepEqual([response.status, response.text, response.headers.connection], [200, 'done', 'close']);
  await soon('the proxy has stopped', stopped);
  assert.equal(kept(), 0);
});

test('does not cut off a response that its caller has not read yet, when it closes idle connections', async (t) => {
  const body = Buffer.alloc(8 * 1024 * 1024, 'x');
  const { app } = await startPlainGateway(t, { handler: (_received, response) => sendResponse(response, 200, body) });
  const slow = await open(`${app.url}/plain`);
  slow.pause();
  const stopped = app.stop();
  let size = 0;
  for await (const chunk of slow) size += (chunk as Buffer).length;
  assert.equal(size, body.length);
  await soon('the proxy has stopped', stopped);
});
