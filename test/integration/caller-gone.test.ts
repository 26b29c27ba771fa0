import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { eventually, soon } from '../harness/eventually.ts';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { call, connectRaw, open } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { eventStream, silence } from '../harness/upstream-handlers.ts';

/** An upstream has to know within this time that nobody waits any more. */
const FELT_MS = 1000;

test('a caller that goes away before the head of its answer is felt upstream at once', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: silence });
  const connection = await connectRaw(app.url);
  connection.send('GET /plain HTTP/1.1\r\nHost: h\r\n\r\n');
  await eventually('the upstream has the request', () => upstream.requests.length === 1);
  connection.socket.destroy();
  await soon('the upstream sees the connection close', upstream.requests[0]?.gone ?? assert.fail(), FELT_MS);
  await eventually('the request is logged', () => app.logs.some(({ msg }) => msg === 'request'));
  const line = app.logs.find(({ msg }) => msg === 'request');
  assert.deepEqual([line?.status, line?.outcome, line?.level], [499, 'cancelled', 'info']);
});

test('a caller that goes away in the middle of a stream is felt upstream at once', async (t) => {
  const stream = eventStream();
  const { app, authorization } = await startGateway(t, { handler: stream.handler });
  const answer = await open(`${app.url}/github`, { headers: { authorization } });
  answer.on('error', () => {});
  answer.destroy();
  await soon('the upstream sees the connection close', stream.gone, FELT_MS);
});

/** More than connections hold, so that the upstream waits for the caller. */
const endless: UpstreamHandler = (_request, response) => {
  const chunk = Buffer.alloc(64 * 1024);
  const write = (): void => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on('drain', write);
  write();
};

for (const [what, handler] of [
  ['of an event stream', eventStream().handler],
  ['of an answer that comes faster than it reads', endless],
] as const) {
  test(`a caller that goes away in the middle ${what} is who has cut it, and not the upstream`, async (t) => {
    const { app } = await startPlainGateway(t, { handler });
    const answer = await open(`${app.url}/plain`);
    answer.on('error', () => {});
    answer.destroy();
    await eventually('the request is logged', () => app.logs.some(({ msg }) => msg === 'request'));
    assert.equal(app.logs.find(({ msg }) => msg === 'request')?.cut_by, 'caller');
    const cut = (by: string, text: string) => sumSamples(text, 'cambist_requests_cut_total', { cut_by: by });
    const text = await app.metrics();
    assert.deepEqual([cut('caller', text), cut('upstream', text)], [1, 0]);
  });
}

test('a caller that goes away in the middle of its upload is felt upstream at once', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { handler: silence });
  const connection = await connectRaw(app.url);
  connection.send('POST /plain HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await eventually('the upstream has the request', () => upstream.requests.length === 1);
  connection.socket.destroy();
  await soon('the upstream sees the connection close', upstream.requests[0]?.gone ?? assert.fail(), FELT_MS);
});

test('a caller that goes away before its small body is whole is cancelled, and no failure', async (t) => {
  const { app, upstream, authorization } = await startGateway(t);
  await call(`${app.url}/github`, { headers: { authorization } });
  const connection = await connectRaw(app.url);
  connection.send(
    `POST /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\nContent-Length: 9\r\n\r\nhell`,
  );
  const inFlight = async () => sumSamples(await app.metrics(), 'cambist_requests_in_flight');
  await eventually('the request is under way', async () => (await inFlight()) === 1);
  connection.socket.destroy();
  await eventually('the request has ended', async () => (await inFlight()) === 0);
  const text = await app.metrics();
  assert.equal(sumSamples(text, 'cambist_requests_total', { outcome: 'cancelled', code: '499' }), 1);
  assert.equal(sumSamples(text, 'cambist_requests_total', { outcome: 'failed' }), 0);
  assert.equal(upstream.requests.length, 1);
});

test('a caller that goes away during the exchange makes no request upstream, and the token serves the next', async (t) => {
  let goOn = (): void => {};
  const until = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const { app, upstream, authorizationServer, authorization } = await startGateway(t);
  authorizationServer.mood = { kind: 'issue', until };
  const connection = await connectRaw(app.url);
  connection.send(`GET /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n\r\n`);
  await eventually('the exchange is under way', () => authorizationServer.requests.length === 1);
  connection.socket.destroy();
  await eventually('the request has ended', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  goOn();
  await delay(50);
  assert.equal(upstream.requests.length, 0);
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.equal(authorizationServer.requests.length, 1);
});

test("one caller's going away does not cancel the exchange that another waits for", async (t) => {
  let goOn = (): void => {};
  const until = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const { app, authorizationServer, authorization } = await startGateway(t);
  authorizationServer.mood = { kind: 'issue', until };
  const leaving = await connectRaw(app.url);
  leaving.send(`GET /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n\r\n`);
  await eventually('the exchange is under way', () => authorizationServer.requests.length === 1);
  const staying = call(`${app.url}/github`, { headers: { authorization } });
  leaving.socket.destroy();
  await eventually('one has gone', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  goOn();
  assert.equal((await staying).status, 200);
  assert.equal(authorizationServer.requests.length, 1);
});
