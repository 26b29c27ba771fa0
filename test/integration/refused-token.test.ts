import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { soon } from '../harness/eventually.ts';
import { sendResponse } from '../harness/fake-authorization-server.ts';
import { refuseBearer, respond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { type GatewayOptions, startGateway } from '../harness/gateway.ts';
import { assertProblem } from '../harness/http-call.ts';

const mirror: UpstreamHandler = async (received, response) => sendResponse(response, 200, await received.body());

async function start(t: TestContext, options: GatewayOptions = {}) {
  const gateway = await startGateway(t, options);
  const { upstream, authorizationServer } = gateway;
  /** The requests that reached the upstream, and the exchanges. */
  const counts = () => [upstream.requests.length, authorizationServer.requests.length];
  return { ...gateway, counts };
}

/** Starts a gateway whose upstream refuses the first issued token, as if it had been revoked. */
async function startRevoked(t: TestContext, options?: GatewayOptions) {
  const gateway = await start(t, options);
  const { upstream, authorizationServer, send } = gateway;
  await send();
  const revoked = authorizationServer.requests[0]?.issued ?? '';
  upstream.handler = refuseBearer((token) => token === revoked, mirror);
  upstream.requests.length = 0;
  return { ...gateway, revoked };
}

for (const [what, headers, body] of [
  ['any bytes', { 'mcp-method': 'tools/call' }, Buffer.from([...Array(256).keys()])],
  ['a small chunked body', { 'transfer-encoding': 'chunked' }, Buffer.from('hello')],
  ['no body', {}, undefined],
] as const) {
  test(`retries a request whose token the upstream refuses with a new token and the same content: ${what}`, async (t) => {
    const { app, upstream, authorizationServer, send } = await startRevoked(t);
    const response = await send(headers, body, '/github/x?y');
    assert.equal(response.status, 200);
    assert.ok(response.body.equals(body ?? Buffer.of()));
    const sent = upstream.requests.map(({ method, url, headers: got }) => [method, url, got['mcp-method']]);
    assert.deepEqual(
      sent,
      Array(2).fill([body ? 'POST' : 'GET', '/mcp/x?y', 'mcp-method' in headers ? 'tools/call' : undefined]),
    );
    const bearers = authorizationServer.requests.map(({ issued }) => [`Bearer ${issued}`]);
    assert.deepEqual(
      upstream.requests.map(({ authorization }) => authorization),
      bearers,
    );
    assert.notDeepEqual(bearers[0], bearers[1]);
    assert.equal(await app.metric('cambist_upstream_retries_total', { route: 'github' }), 1);
  });
}

for (const [kind, framing] of [
  ['large body with a length', { 'content-length': 20_000 }],
  ['large chunked body', { 'transfer-encoding': 'chunked' }],
] as const) {
  test(`does not retry a ${kind}, and uses a new token for the next request`, async (t) => {
    const { send, counts } = await startRevoked(t, { route: { retry_body_limit: '10KiB' } });
    assertProblem(await send(framing, Buffer.alloc(20_000)), 'ERR_UPSTREAM_REFUSED_TOKEN');
    assert.deepEqual(counts(), [1, 1]);
    assert.equal((await send()).status, 200);
    assert.deepEqual(counts(), [2, 2]);
  });
}

test('returns its own error, and makes one exchange for each session, when the upstream refuses every token', async (t) => {
  const { send, counts } = await start(t, { handler: refuseBearer(() => true) });
  for (const upstreamRequests of [2, 3, 4, 5, 6]) {
    const response = await send();
    assertProblem(response, 'ERR_UPSTREAM_REFUSED_TOKEN');
    assert.equal(response.headers['www-authenticate'], undefined);
    assert.deepEqual(counts(), [upstreamRequests, 2]);
  }
});

/** Responds with 401 as a backend does that wants a stronger sign-in (RFC 9470 section 3). */
const wantsSignIn = (parameters: string): UpstreamHandler =>
  respond(401, 'no', { 'www-authenticate': `Bearer error="insufficient_user_authentication"${parameters}` });

test('challenges the caller to sign in as the backend wants, and keeps the token', async (t) => {
  const parameters = ', acr_values="urn:mfa urn:phr", max_age="5"';
  const { upstream, send, counts } = await start(t, { handler: wantsSignIn(parameters) });
  const response = await send({}, 'hello');
  assertProblem(response, 'ERR_INTERACTION_REQUIRED');
  const challenge = `Bearer error="insufficient_user_authentication"${parameters}`;
  assert.equal(response.headers['www-authenticate'], challenge);
  upstream.handler = mirror;
  assert.equal((await send()).status, 200);
  assert.deepEqual(counts(), [2, 1]);
});

test('repeats nothing of a backend but well-formed requirements, and never the issued token', async (t) => {
  const { upstream, send } = await start(t);
  const bare = 'Bearer error="insufficient_user_authentication"';
  const echo: UpstreamHandler = (received, response) => {
    const token = received.authorization[0]?.replace('Bearer ', '');
    return wantsSignIn(`, acr_values="mfa ${token}", max_age=0`)(received, response);
  };
  for (const [handler, challenge] of [
    [wantsSignIn(''), bare],
    [wantsSignIn(', acr_values="a\\"b", max_age="-1"'), bare],
    [echo, `${bare}, max_age="0"`],
  ] as const) {
    upstream.handler = handler;
    assert.equal((await send()).headers['www-authenticate'], challenge);
  }
});

test('blames the operator where no sign-in of the caller changes the token', async (t) => {
  const route = { credential: 'client_credentials' };
  const { send } = await start(t, { route, handler: wantsSignIn(', max_age="5"') });
  assertProblem(await send(), 'ERR_UPSTREAM_REFUSED_TOKEN');
});

test('returns the error of the exchange when a retry gets no new token', async (t) => {
  const { authorizationServer, send } = await startRevoked(t);
  authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_target' } };
  assertProblem(await send(), 'ERR_EXCHANGE_REFUSED');
});

test('makes one exchange for fifty concurrent refusals of one token', async (t) => {
  const { authorizationServer, send } = await startRevoked(t);
  const responses = await Promise.all(Array.from({ length: 50 }, () => send({}, 'hello')));
  assert.deepEqual(new Set(responses.map(({ status }) => status)), new Set([200]));
  assert.equal(authorizationServer.requests.length, 2);
});

test('relays a 401 unchanged on routes that send no issued token', async (t) => {
  const { app, config, send, counts, upstream } = await start(t, { handler: refuseBearer(() => true) });
  for (const credential of ['none', 'passthrough']) {
    upstream.requests.length = 0;
    app.reloadTo({ routes: config.routes.map((route) => ({ ...route, credential })) });
    const response = await send();
    assert.deepEqual([response.status, response.text], [401, '{"error":"invalid_token"}'], credential);
    assert.equal(response.headers['www-authenticate'], 'Bearer error="invalid_token"');
    assert.deepEqual(counts(), [1, 0]);
  }
});

test('closes the connection of a refusal whose body never ends', async (t) => {
  const { upstream, revoked, send } = await startRevoked(t);
  upstream.handler = (received, response) => {
    if (received.authorization[0] !== `Bearer ${revoked}`) return mirror(received, response);
    response.writeHead(401);
    response.write('refused, because');
  };
  assert.equal((await send({}, 'hello')).status, 200);
  await soon('the refused request is closed', upstream.requests[0]?.gone ?? assert.fail());
});

test('makes no exchange for each request when the upstream returns 404 or starts a session each time', async (t) => {
  const { authorizationServer, upstream, send } = await start(t);
  upstream.handler = respond(404);
  for (let i = 0; i < 5; i += 1) await send({ 'mcp-session-id': 'one' }, 'hello');
  assert.equal(authorizationServer.requests.length, 2);
  let opened = 0;
  upstream.handler = (received, response) => {
    opened += 1;
    response.setHeader('mcp-session-id', `session-${opened}`);
    return mirror(received, response);
  };
  for (let i = 0; i < 5; i += 1) await send({}, 'hello');
  assert.equal(authorizationServer.requests.length, 4);
});

test('forwards a token that is also valid elsewhere, and warns once for each route', async (t) => {
  const { send, app, authorizationServer } = await start(t, { route: { audience: 'github' } });
  authorizationServer.behaviour = { kind: 'issue', audience: ['github', 'docs'] };
  for (const session of ['one', 'two']) assert.equal((await send({ 'mcp-session-id': session })).status, 200);
  const [warning, ...more] = app.logs.filter(({ msg }) => /also valid at other audiences/.test(String(msg)));
  assert.deepEqual([warning?.route, warning?.authorization_server, warning?.level], ['github', 'local', 'warn']);
  assert.deepEqual(more, []);
});
