import assert from 'node:assert/strict';
import { constants as openssl } from 'node:crypto';
import { constants, type Http2ServerRequest, type SecureServerOptions } from 'node:http2';
import { type TestContext, test } from 'node:test';
import { eventually, soon } from '../harness/eventually.ts';
import { type CallOptions, call, connectRaw } from '../harness/http-call.ts';
import { type Http2Handler, mirror, startHttp2Gateway } from '../harness/http2-gateway.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { assertProblem } from '../harness/problem.ts';

type TurnAway = (request: Http2ServerRequest) => void;

const refuse: TurnAway = ({ stream }) => stream.close(constants.NGHTTP2_REFUSED_STREAM);

/** Says that nothing was done with any stream from this one on. */
const goAway =
  (code: number): TurnAway =>
  ({ stream }) =>
    stream.session?.goaway(code, Number(stream.id) - 2);

/** An upstream that answers the first request on a connection, and turns so many away after that. */
async function startRefusing(t: TestContext, turnAway: TurnAway, times: number, options: SecureServerOptions = {}) {
  const gateway = await startHttp2Gateway(t, mirror, { http2: true }, options);
  const { app, authorization } = gateway;
  const send = (more: CallOptions = {}) =>
    soon('the answer', call(`${app.url}/github`, { headers: { authorization }, ...more }));
  assert.equal((await send()).status, 200);
  let left = times;
  const handler: Http2Handler = (request, response) => {
    if (left === 0) return mirror(request, response);
    left -= 1;
    return turnAway(request);
  };
  gateway.state.handler = handler;
  const resent = async (): Promise<number> =>
    sumSamples(await app.metrics(), 'cambist_upstream_retries_total', { route: 'github', reason: 'unprocessed' });
  return { ...gateway, send, resent };
}

for (const [how, turnAway] of [
  ['by REFUSED_STREAM', refuse],
  ['by a GOAWAY in order', goAway(constants.NGHTTP2_NO_ERROR)],
  ['by a GOAWAY with an error', goAway(constants.NGHTTP2_ENHANCE_YOUR_CALM)],
] as const) {
  test(`what was turned away undone ${how} is sent once more elsewhere, with its body and its token`, async (t) => {
    const { send, state, authorizationServer, resent } = await startRefusing(t, turnAway, 1);
    const answered = await send({ body: 'hello' });
    assert.equal(answered.status, 200);
    assert.equal((JSON.parse(answered.text) as { body: string }).body, 'hello');
    assert.deepEqual([state.requests.length, state.connections], [3, 2]);
    assert.equal(state.requests[2]?.headers.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
    assert.deepEqual([authorizationServer.requests.length, await resent()], [1, 1]);
  });

  test(`what was turned away undone ${how} is sent once more where there is no body`, async (t) => {
    const { send, state } = await startRefusing(t, turnAway, 1);
    assert.equal((await send()).status, 200);
    assert.deepEqual([state.requests.length, state.connections], [3, 2]);
  });
}

test('what is turned away a second time is 502, and not sent a third', async (t) => {
  const { send, state, resent } = await startRefusing(t, refuse, 2);
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.deepEqual([state.requests.length, state.connections, await resent()], [3, 2, 1]);
  assert.equal((await send()).status, 200);
  assert.equal(state.connections, 2);
});

test('a body that streams is not sent a second time', async (t) => {
  const { app, state, authorization, resent } = await startRefusing(t, refuse, 1);
  const connection = await connectRaw(app.url);
  connection.send(`POST /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n`);
  connection.send('Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await soon('the answer', connection.until('ERR_UPSTREAM_UNREACHABLE'));
  assert.deepEqual([state.requests.length, await resent()], [2, 0]);
});

test('a stream that is given up by any other code may have been processed, and is not sent again', async (t) => {
  const { send, state } = await startRefusing(t, ({ stream }) => stream.close(constants.NGHTTP2_INTERNAL_ERROR), 1);
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(state.requests.length, 2);
});

test('what a GOAWAY with an error does not say to be undone is not sent again', async (t) => {
  const last: TurnAway = ({ stream }) => stream.session?.goaway(constants.NGHTTP2_INTERNAL_ERROR, stream.id);
  const { send, state } = await startRefusing(t, last, 1);
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(state.requests.length, 2);
});

test('a caller who leaves while its request waits for another connection is not sent upstream', async (t) => {
  let onHandshake = async () => {};
  const { app, send, state, authorization, resent } = await startRefusing(t, refuse, 1, {
    // So that the second handshake asks for the certificate as the first does.
    secureOptions: openssl.SSL_OP_NO_TICKET,
    SNICallback: (_name: string, done: (error: null) => void) => void onHandshake().then(() => done(null)),
  });
  const connection = await connectRaw(app.url);
  onHandshake = () => {
    connection.socket.destroy();
    return eventually('it is logged', () => app.logs.some(({ outcome }) => outcome === 'cancelled'));
  };
  connection.send(`GET /github HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n\r\n`);
  await eventually('it is connected', () => state.connections === 2);
  assert.equal((await send()).status, 200);
  assert.deepEqual([state.requests.length, await resent()], [3, 0]);
});
