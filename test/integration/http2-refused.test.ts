import assert from 'node:assert/strict';
import { constants as openssl } from 'node:crypto';
import { constants, type Http2ServerRequest, type SecureServerOptions } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { type CallOptions, call, connectRaw } from '../harness/http-call.ts';
import { type Http2Handler, mirror, startHttp2Gateway } from '../harness/http2-gateway.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';

type Refuse = (request: Http2ServerRequest) => void;

const resetStream: Refuse = ({ stream }) => stream.close(constants.NGHTTP2_REFUSED_STREAM);

/** Says that no stream from this one on was processed. */
const goAway =
  (code: number): Refuse =>
  ({ stream }) =>
    stream.session?.goaway(code, Number(stream.id) - 2);

/** An upstream that serves the first request on a connection, and then refuses this many requests. */
async function startRefusing(t: TestContext, refuse: Refuse, times: number, options: SecureServerOptions = {}) {
  const gateway = await startHttp2Gateway(t, mirror, { http2: true }, options);
  const { app, authorization } = gateway;
  const send = (more: CallOptions = {}) =>
    soon('the response', call(`${app.url}/github`, { headers: { authorization }, ...more }));
  assert.equal((await send()).status, 200);
  let left = times;
  const handler: Http2Handler = (request, response) => {
    if (left === 0) return mirror(request, response);
    left -= 1;
    return refuse(request);
  };
  gateway.state.handler = handler;
  const retries = async (): Promise<number> =>
    sumSamples(await app.metrics(), 'cambist_upstream_retries_total', { route: 'github', reason: 'unprocessed' });
  return { ...gateway, send, retries };
}

for (const [how, refuse] of [
  ['REFUSED_STREAM', resetStream],
  ['a graceful GOAWAY', goAway(constants.NGHTTP2_NO_ERROR)],
  ['a GOAWAY with an error', goAway(constants.NGHTTP2_ENHANCE_YOUR_CALM)],
] as const) {
  test(`retries a request refused with ${how} on another connection, with its body and token`, async (t) => {
    const { send, state, authorizationServer, retries } = await startRefusing(t, refuse, 1);
    const response = await send({ body: 'hello' });
    assert.equal(response.status, 200);
    assert.equal((JSON.parse(response.text) as { body: string }).body, 'hello');
    assert.deepEqual([state.requests.length, state.connections], [3, 2]);
    assert.equal(state.requests[2]?.headers.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
    assert.deepEqual([authorizationServer.requests.length, await retries()], [1, 1]);
  });

  test(`retries a request without a body refused with ${how}`, async (t) => {
    const { send, state } = await startRefusing(t, refuse, 1);
    assert.equal((await send()).status, 200);
    assert.deepEqual([state.requests.length, state.connections], [3, 2]);
  });
}

test('returns 502 when a request is refused a second time, and does not retry again', async (t) => {
  const { send, state, retries } = await startRefusing(t, resetStream, 2);
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.deepEqual([state.requests.length, state.connections, await retries()], [3, 2, 1]);
  assert.equal((await send()).status, 200);
  assert.equal(state.connections, 2);
});

test('does not retry a streamed body', async (t) => {
  const { app, state, authorization, retries } = await startRefusing(t, resetStream, 1);
  const connection = await connectRaw(app.url);
  connection.send(`POST /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n`);
  connection.send('Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await soon('the response', connection.until('ERR_UPSTREAM_UNREACHABLE'));
  assert.deepEqual([state.requests.length, await retries()], [2, 0]);
});

test('does not retry a stream that is reset with any other code, because it may have been processed', async (t) => {
  const { send, state } = await startRefusing(t, ({ stream }) => stream.close(constants.NGHTTP2_INTERNAL_ERROR), 1);
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(state.requests.length, 2);
});

test('does not retry a stream that a GOAWAY with an error reports as processed', async (t) => {
  const last: Refuse = ({ stream }) => stream.session?.goaway(constants.NGHTTP2_INTERNAL_ERROR, stream.id);
  const { send, state } = await startRefusing(t, last, 1);
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(state.requests.length, 2);
});

test('does not retry when the caller disconnects while another connection opens', async (t) => {
  let onHandshake = async () => {};
  const { app, send, state, authorization, retries } = await startRefusing(t, resetStream, 1, {
    // Without session tickets, the second handshake asks for the certificate as the first does.
    secureOptions: openssl.SSL_OP_NO_TICKET,
    SNICallback: (_name: string, done: (error: null) => void) => void onHandshake().then(() => done(null)),
  });
  const connection = await connectRaw(app.url);
  onHandshake = () => {
    connection.socket.destroy();
    return eventually('the request is logged', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  };
  connection.send(`GET /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n\r\n`);
  await eventually('the connection is open', () => state.connections === 2);
  assert.equal((await send()).status, 200);
  assert.deepEqual([state.requests.length, await retries()], [3, 0]);
});

test('opens another connection for the next request after a reset with ENHANCE_YOUR_CALM, and does not retry', async (t) => {
  const { send, state } = await startRefusing(t, ({ stream }) => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM), 1);
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.deepEqual([state.requests.length, state.connections], [2, 1]);
  assert.equal((await send()).status, 200);
  assert.equal(state.connections, 2);
});
