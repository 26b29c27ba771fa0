import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { startGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { eventStream } from '../harness/upstream-handlers.ts';

const MAX_IN_FLIGHT = 3;

/** A gateway with an upstream that streams without end, and a caller that pipelines requests. */
async function startStreaming(t: TestContext, limits: Record<string, unknown> = {}) {
  const stream = eventStream();
  const gateway = await startGateway(t, {
    handler: stream.handler,
    top: { limits: { max_in_flight: MAX_IN_FLIGHT, ...limits } },
  });
  const { app, upstream, authorization } = gateway;
  const pipeline = async (count: number) => {
    const connection = await connectRaw(app.url);
    const head = `GET /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n\r\n`;
    connection.send(head.repeat(count));
    return connection;
  };
  const allEnded = () =>
    eventually('nothing is in flight', async () => {
      const text = await app.metrics();
      return sumSamples(text, 'cambist_requests_in_flight') + sumSamples(text, 'cambist_open_streams') === 0;
    });
  return { ...gateway, upstream, pipeline, allEnded };
}

test('closes all pipelined requests upstream when the caller disconnects', async (t) => {
  const { upstream, pipeline, allEnded } = await startStreaming(t);
  const connection = await pipeline(2);
  await eventually('the upstream has both requests', () => upstream.requests.length === 2);
  connection.socket.destroy();
  await soon('both streams are closed upstream', Promise.all(upstream.requests.map(({ gone }) => gone)));
  await allEnded();
});

test('frees the slots of pipelined requests when their caller disconnects', async (t) => {
  const { app, upstream, authorization, pipeline, allEnded } = await startStreaming(t);
  for (let round = 1; round <= MAX_IN_FLIGHT + 1; round += 1) {
    const connection = await pipeline(2);
    await eventually('the upstream has both requests', () => upstream.requests.length === 2 * round);
    connection.socket.resetAndDestroy();
    await allEnded();
  }
  upstream.handler = (_request, response) => void response.end('ok');
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
});

test('stops without waiting for pipelined requests whose caller disconnected', async (t) => {
  const { app, upstream, pipeline } = await startStreaming(t, { shutdown_grace: '1h' });
  const connection = await pipeline(2);
  await eventually('the upstream has both requests', () => upstream.requests.length === 2);
  connection.socket.destroy();
  await soon('the stop', app.stop());
});

test('finishes pipelined requests without a token whose caller disconnected at once', async (t) => {
  const { app, allEnded } = await startStreaming(t, { shutdown_grace: '1h' });
  const connection = await connectRaw(app.url);
  connection.send('GET /github HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(50));
  connection.socket.resetAndDestroy();
  await allEnded();
  await soon('the stop', app.stop());
});

for (const length of [0, 10, 20_000]) {
  test(`sends 100 Continue before the headers of its response, behind a slow response: ${length} bytes`, async (t) => {
    let respondFirst = (): void => {};
    const { app, authorization } = await startGateway(t, {
      handler({ method }, response) {
        if (method === 'GET') respondFirst = () => void response.end('first');
        else response.end('x'.repeat(length));
      },
    });
    const connection = await connectRaw(app.url);
    const fields = `Host: localhost\r\nAuthorization: ${authorization}\r\n`;
    connection.send(`GET /github HTTP/1.1\r\n${fields}\r\n`);
    connection.send(`POST /github HTTP/1.1\r\n${fields}Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}`);
    await eventually('the second response is complete', async () =>
      (await app.metrics()).includes('method="POST",code="200",outcome="forwarded"} 1'),
    );
    respondFirst();
    const end = new RegExp(
      `first.*?HTTP/1\\.1 100 Continue\\r\\n\\r\\nHTTP/1\\.1 200 OK\\r\\n.*\\r\\n\\r\\n.*x{${length}}`,
      's',
    );
    const all = await soon('both responses', connection.until(end));
    assert.equal(all.match(/100 Continue/g)?.length, 1);
    connection.socket.destroy();
  });
}
