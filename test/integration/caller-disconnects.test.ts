import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { deferred } from '../harness/deferred.ts';
import { eventually, soon } from '../harness/eventually.ts';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw, open } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { eventStream, neverRespond } from '../harness/upstream-handlers.ts';

for (const [point, bytes] of [
  ['before the response headers', 'GET /plain HTTP/1.1\r\nHost: localhost\r\n\r\n'],
  ['during its upload', 'POST /plain HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'],
  [
    'during its WebSocket handshake',
    'GET /plain HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  ],
]) {
  test(`closes the upstream connection and reports 499 when the caller disconnects ${point}`, async (t) => {
    const { app, upstream } = await startPlainGateway(t, { handler: neverRespond });
    const connection = await connectRaw(app.url);
    connection.send(bytes ?? '');
    await eventually('the upstream has the request', () => upstream.requests.length === 1);
    connection.socket.destroy();
    await soon('the upstream sees the connection close', upstream.requests[0]?.gone ?? assert.fail());
    await eventually('the request is logged', () => app.logs.some(({ msg }) => msg === 'request'));
    const line = app.logs.find(({ msg }) => msg === 'request');
    assert.deepEqual([line?.status, line?.outcome, line?.level], [499, 'cancelled', 'info']);
  });
}

/** Sends more than the buffers of the connections can take, so that the upstream waits for the caller. */
const endless: UpstreamHandler = (_request, response) => {
  const chunk = Buffer.alloc(64 * 1024);
  const write = (): void => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on('drain', write);
  write();
};

for (const [stream, handler] of [
  ['an event stream', eventStream().handler],
  ['a response that is faster than it reads', endless],
] as const) {
  test(`reports aborted_by "caller" when the caller disconnects during ${stream}`, async (t) => {
    const { app } = await startPlainGateway(t, { handler });
    const response = await open(`${app.url}/plain`);
    response.on('error', () => {});
    response.destroy();
    await eventually('the request is logged', () => app.logs.some(({ msg }) => msg === 'request'));
    assert.equal(app.logs.find(({ msg }) => msg === 'request')?.aborted_by, 'caller');
    const cut = (by: string, text: string) => sumSamples(text, 'cambist_requests_aborted_total', { aborted_by: by });
    const text = await app.metrics();
    assert.deepEqual([cut('caller', text), cut('upstream', text)], [1, 0]);
  });
}

test('counts a caller that disconnects before its small body is complete as cancelled, not as failed', async (t) => {
  const { app, upstream, authorization } = await startGateway(t);
  await call(`${app.url}/github`, { headers: { authorization } });
  const connection = await connectRaw(app.url);
  connection.send(
    `POST /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nContent-Length: 9\r\n\r\nhell`,
  );
  const inFlight = async () => sumSamples(await app.metrics(), 'cambist_requests_in_flight');
  await eventually('the request is in flight', async () => (await inFlight()) === 1);
  connection.socket.destroy();
  await eventually('the request is finished', async () => (await inFlight()) === 0);
  const text = await app.metrics();
  assert.equal(sumSamples(text, 'cambist_requests_total', { outcome: 'cancelled', code: '499' }), 1);
  assert.equal(sumSamples(text, 'cambist_requests_total', { outcome: 'failed' }), 0);
  assert.equal(upstream.requests.length, 1);
});

test('sends no request upstream when the caller disconnects during the exchange, and keeps the token', async (t) => {
  const { promise: until, resolve: release } = deferred<void>();
  const { app, upstream, authorizationServer, authorization } = await startGateway(t);
  authorizationServer.behaviour = { kind: 'issue', until };
  const connection = await connectRaw(app.url);
  connection.send(`GET /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n\r\n`);
  await eventually('the exchange is in flight', () => authorizationServer.requests.length === 1);
  connection.socket.destroy();
  await eventually('the request is finished', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  release();
  await delay(50);
  assert.equal(upstream.requests.length, 0);
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.equal(authorizationServer.requests.length, 1);
});

test('continues an exchange for one caller when another caller that waits for it disconnects', async (t) => {
  const { promise: until, resolve: release } = deferred<void>();
  const { app, authorizationServer, authorization } = await startGateway(t);
  authorizationServer.behaviour = { kind: 'issue', until };
  const leaving = await connectRaw(app.url);
  leaving.send(`GET /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\n\r\n`);
  await eventually('the exchange is in flight', () => authorizationServer.requests.length === 1);
  const staying = call(`${app.url}/github`, { headers: { authorization } });
  leaving.socket.destroy();
  await eventually('the first caller is gone', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  release();
  assert.equal((await staying).status, 200);
  assert.equal(authorizationServer.requests.length, 1);
});
