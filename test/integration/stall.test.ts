import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertAllFinished, FLOOD_BYTES, flood, get, post } from '../harness/disconnects.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';

const ROUTE = { timeouts: { stall: '1s' } };

test('returns 504 for an upload that stalls, and closes its request upstream', async (t) => {
  const { app, upstream } = await startPlainGateway(t, {
    handler: ({ message }) => void message.pause(),
    route: ROUTE,
  });
  const connection = await connectRaw(app.url);
  connection.send(post('/plain', 2 * FLOOD_BYTES));
  await flood(connection);
  const response = await soon('the response', connection.until('"code":"ERR_UPSTREAM_TIMEOUT"'));
  assert.match(response, /^HTTP\/1\.1 504 /);
  const [request] = upstream.requests;
  request?.message.resume();
  await soon('the backend sees the request close', request?.gone ?? assert.fail());
  assert.match(app.logText(), /route \\"plain\\": no byte moved for timeouts\.stall, which is 1s, /);
  await assertAllFinished(app);
});

test('aborts a response that stalls together with its upload, and reports aborted_by "stall"', async (t) => {
  const { app } = await startPlainGateway(t, {
    handler({ message }, response) {
      message.pause();
      response.write('started');
    },
    route: ROUTE,
  });
  const connection = await connectRaw(app.url);
  connection.send(post('/plain', 2 * FLOOD_BYTES));
  await flood(connection);
  await soon('the connection is closed', connection.closed());
  await eventually('the cut is logged', () => app.logs.some(({ aborted_by }) => aborted_by === 'stall'));
  assert.equal(sumSamples(await app.metrics(), 'cambist_requests_aborted_total', { aborted_by: 'stall' }), 1);
  await assertAllFinished(app);
});

test('keeps a stalled upload open while its response continues', async (t) => {
  const { app, upstream } = await startPlainGateway(t, {
    handler({ message }, response) {
      message.pause();
      const timer = setInterval(() => response.write('beat\n'), 200);
      response.once('close', () => clearInterval(timer));
    },
    route: ROUTE,
  });
  const connection = await connectRaw(app.url);
  connection.send(post('/plain', 2 * FLOOD_BYTES));
  await flood(connection);
  await connection.until(/(beat\s[^b]*){15}/);
  assert.equal(upstream.requests.length, 1);
  connection.socket.destroy();
  await assertAllFinished(app);
});

test('keeps a silent response open', async (t) => {
  const { app } = await startPlainGateway(t, {
    async handler({ body }, response) {
      await body();
      setTimeout(() => response.end('late'), 2500);
    },
    route: ROUTE,
  });
  const { status, text } = await call(`${app.url}/plain`, { body: Buffer.alloc(1024 * 1024) });
  assert.deepEqual([status, text], [200, 'late']);
});

test('closes a connection with too many pipelined requests', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: () => {} });
  const connection = await connectRaw(app.url);
  connection.send(get('/plain').repeat(17));
  await eventually('the upstream has the allowed requests', () => upstream.requests.length === 17);
  connection.send(get('/plain'));
  await soon('the connection is closed', connection.closed());
  await soon('the upstream sees every request close', Promise.all(upstream.requests.map(({ gone }) => gone)));
  assert.match(app.logText(), /more than 16 pipelined requests/);
  await assertAllFinished(app);
});
