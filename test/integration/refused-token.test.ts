import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { sendResponse } from '../harness/fake-authorization-server.ts';
import { refuseBearer, respond, type UpstreamHandler } from '../harness/fake-upstream.ts';
import { type Gateway, startGateway } from '../harness/gateway.ts';
import { assertProblem, call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';

const mirror: UpstreamHandler = async (received, response) => sendResponse(response, 200, await received.body());

/** Makes the upstream refuse the first issued token, as if it had been revoked. */
async function revokeFirst({ app, upstream, authorizationServer, authorization }: Gateway): Promise<void> {
  await call(`${app.url}/github`, { headers: { authorization } });
  const revoked = authorizationServer.requests[0]?.issued;
  upstream.handler = refuseBearer((token) => token === revoked, mirror);
  upstream.requests.length = 0;
}

test('retries a request whose token the upstream refuses with a new token and the same bytes', async (t) => {
  const gateway = await startGateway(t);
  const { app, upstream, authorizationServer, authorization } = gateway;
  await revokeFirst(gateway);
  const body = Buffer.from([...Array(256).keys()]);
  const headers = { authorization, 'mcp-method': 'tools/call' };
  const response = await call(`${app.url}/github/x?y`, { method: 'POST', headers, body });
  assert.equal(response.status, 200);
  assert.ok(response.body.equals(body));
  assert.deepEqual(
    upstream.requests.map(({ method, url, headers: got }) => [method, url, got['mcp-method']]),
    [
      ['POST', '/mcp/x?y', 'tools/call'],
      ['POST', '/mcp/x?y', 'tools/call'],
    ],
  );
  const bearers = authorizationServer.requests.map(({ issued }) => [`Bearer ${issued}`]);
  assert.deepEqual(
    upstream.requests.map((request) => request.authorization),
    bearers,
  );
  assert.notDeepEqual(bearers[0], bearers[1]);
});

test('retries a small chunked body', async (t) => {
  const gateway = await startGateway(t);
  await revokeFirst(gateway);
  const headers = { authorization: gateway.authorization, 'transfer-encoding': 'chunked' };
  const response = await call(`${gateway.app.url}/github`, { method: 'POST', headers, body: 'hello' });
  assert.deepEqual([response.status, response.text], [200, 'hello']);
  assert.equal(gateway.upstream.requests.length, 2);
});

test('retries a request without a body, and counts the retry', async (t) => {
  const gateway = await startGateway(t);
  const { app, upstream, authorization } = gateway;
  await revokeFirst(gateway);
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.deepEqual(
    upstream.requests.map(({ method }) => method),
    ['GET', 'GET'],
  );
  assert.equal(sumSamples(await app.metrics(), 'cambist_upstream_retries_total', { route: 'github' }), 1);
});

for (const [kind, framing] of [
  ['large body with a length', { 'content-length': 20_000 }],
  ['large chunked body', { 'transfer-encoding': 'chunked' }],
] as const) {
  test(`does not retry a ${kind}, and uses a new token for the next request`, async (t) => {
    const gateway = await startGateway(t, { route: { retry_body_limit: '10KiB' } });
    const { app, upstream, authorizationServer, authorization } = gateway;
    await revokeFirst(gateway);
    const headers = { authorization, ...framing };
    const response = await call(`${app.url}/github`, { method: 'POST', headers, body: Buffer.alloc(20_000) });
    assertProblem(response, 'ERR_UPSTREAM_REFUSED_TOKEN');
    assert.equal(upstream.requests.length, 1);
    assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
    assert.equal(authorizationServer.requests.length, 2);
  });
}

test('returns an error of its own when the upstream refuses the new token as well', async (t) => {
  const { app, upstream, authorizationServer, authorization } = await startGateway(t, {
    handler: refuseBearer(() => true),
  });
  const response = await call(`${app.url}/github`, { headers: { authorization } });
  assertProblem(response, 'ERR_UPSTREAM_REFUSED_TOKEN');
  assert.equal(response.headers['www-authenticate'], undefined);
  assert.deepEqual([upstream.requests.length, authorizationServer.requests.length], [2, 2]);
});

/** Responds with 401 as a backend does that wants a stronger sign-in (RFC 9470 section 3). */
const wantsSignIn = (parameters: string): UpstreamHandler =>
  respond(401, 'no', { 'www-authenticate': `Bearer error="insufficient_user_authentication"${parameters}` });

test('challenges the caller to sign in as the backend wants, and keeps the token', async (t) => {
  const gateway = await startGateway(t, { handler: wantsSignIn(', acr_values="urn:mfa urn:phr", max_age="5"') });
  const { app, upstream, authorizationServer, authorization } = gateway;
  const response = await call(`${app.url}/github`, { method: 'POST', headers: { authorization }, body: 'hello' });
  assertProblem(response, 'ERR_INTERACTION_REQUIRED');
  const challenge = 'Bearer error="insufficient_user_authentication", acr_values="urn:mfa urn:phr", max_age="5"';
  assert.equal(response.headers['www-authenticate'], challenge);
  upstream.handler = mirror;
  assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
  assert.deepEqual([upstream.requests.length, authorizationServer.requests.length], [2, 1]);
});

test('repeats nothing of a backend but well-formed requirements, and never the issued token', async (t) => {
  const { app, upstream, authorization } = await startGateway(t);
  const bare = 'Bearer error="insufficient_user_authentication"';
  const challengeFor = async (handler: UpstreamHandler) => {
    upstream.handler = handler;
    return (await call(`${app.url}/github`, { headers: { authorization } })).headers['www-authenticate'];
  };
  assert.equal(await challengeFor(wantsSignIn('')), bare);
  assert.equal(await challengeFor(wantsSignIn(', acr_values="a\\"b", max_age="-1"')), bare);
  const echo: UpstreamHandler = (received, response) => {
    const token = received.authorization[0]?.replace('Bearer ', '');
    return wantsSignIn(`, acr_values="mfa ${token}", max_age=0`)(received, response);
  };
  assert.equal(await challengeFor(echo), `${bare}, max_age="0"`);
});

test('blames the operator where no sign-in of the caller changes the token', async (t) => {
  const route = { credential: 'client_credentials' };
  const { app, authorization } = await startGateway(t, { route, handler: wantsSignIn(', max_age="5"') });
  assertProblem(await call(`${app.url}/github`, { headers: { authorization } }), 'ERR_UPSTREAM_REFUSED_TOKEN');
});

test('returns the error of the exchange when a retry gets no new token', async (t) => {
  const gateway = await startGateway(t);
  const { app, authorizationServer, authorization } = gateway;
  await revokeFirst(gateway);
  authorizationServer.behaviour = { kind: 'response', status: 400, body: { error: 'invalid_target' } };
  assertProblem(await call(`${app.url}/github`, { headers: { authorization } }), 'ERR_EXCHANGE_REFUSED');
});

test('makes one exchange for fifty concurrent refusals of one token', async (t) => {
  const gateway = await startGateway(t);
  const { app, authorizationServer, authorization } = gateway;
  await revokeFirst(gateway);
  const responses = await Promise.all(
    Array.from({ length: 50 }, () => call(`${app.url}/github`, { headers: { authorization }, body: 'hello' })),
  );
  assert.deepEqual(new Set(responses.map(({ status }) => status)), new Set([200]));
  assert.equal(authorizationServer.requests.length, 2);
});

test('relays a 403 unchanged, without an exchange', async (t) => {
  const { app, authorizationServer, authorization } = await startGateway(t, {
    handler: async (received, response) => {
      await received.body();
      sendResponse(response, 403, 'no', { 'www-authenticate': 'Bearer realm="github"' });
    },
  });
  const response = await call(`${app.url}/github`, { headers: { authorization } });
  assert.deepEqual([response.status, response.text], [403, 'no']);
  assert.equal(response.headers['www-authenticate'], 'Bearer realm="github"');
  assert.equal(authorizationServer.requests.length, 1);
});

test('relays a 401 unchanged on routes that send no issued token', async (t) => {
  const gateway = await startGateway(t, { handler: refuseBearer(() => true) });
  const { app, upstream, authorizationServer, authorization, config } = gateway;
  for (const credential of ['none', 'passthrough']) {
    upstream.requests.length = 0;
    const routes = config.routes.map((route) => ({ ...route, credential }));
    app.reloadTo({ routes });
    const response = await call(`${app.url}/github`, { headers: { authorization } });
    assert.deepEqual([response.status, response.text], [401, '{"error":"invalid_token"}'], credential);
    assert.equal(response.headers['www-authenticate'], 'Bearer error="invalid_token"');
    assert.equal(upstream.requests.length, 1);
  }
  assert.equal(authorizationServer.requests.length, 0);
});

test('closes the connection of a refusal whose body never ends', async (t) => {
  const gateway = await startGateway(t);
  const { app, upstream, authorizationServer, authorization } = gateway;
  await revokeFirst(gateway);
  const revoked = `Bearer ${authorizationServer.requests[0]?.issued}`;
  upstream.handler = (received, response) => {
    if (received.authorization[0] !== revoked) return mirror(received, response);
    response.writeHead(401);
    response.write('refused, because');
  };
  assert.equal((await call(`${app.url}/github`, { headers: { authorization }, body: 'hello' })).status, 200);
  let gone = false;
  void upstream.requests[0]?.gone.then(() => {
    gone = true;
  });
  await eventually('the refused request is closed', () => gone);
});

test('makes one exchange for each session, not for each request, when the upstream refuses every token', async (t) => {
  const { app, upstream, authorizationServer, authorization } = await startGateway(t, {
    handler: refuseBearer(() => true),
  });
  for (let i = 0; i < 5; i += 1) {
    assertProblem(await call(`${app.url}/github`, { headers: { authorization } }), 'ERR_UPSTREAM_REFUSED_TOKEN');
  }
  assert.deepEqual([upstream.requests.length, authorizationServer.requests.length], [6, 2]);
});

test('makes no exchange for each request when the upstream returns 404 or starts a session each time', async (t) => {
  const { app, authorizationServer, authorization, upstream } = await startGateway(t);
  upstream.handler = respond(404);
  const send = (headers: Record<string, string>) =>
    call(`${app.url}/github`, { headers: { authorization, ...headers }, body: 'hello' });
  for (let i = 0; i < 5; i += 1) await send({ 'mcp-session-id': 'one' });
  assert.equal(authorizationServer.requests.length, 2);
  let opened = 0;
  upstream.handler = (received, response) => {
    opened += 1;
    response.setHeader('mcp-session-id', `session-${opened}`);
    return mirror(received, response);
  };
  for (let i = 0; i < 5; i += 1) await send({});
  assert.equal(authorizationServer.requests.length, 4);
});

test('drops the token of a session after a 404 for an unknown session', async (t) => {
  const { app, authorizationServer, authorization, upstream } = await startGateway(t);
  const body = '{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"not found"}}';
  upstream.handler = respond(404, body, { 'content-type': 'application/json; charset=utf-8' });
  const headers = { authorization, 'mcp-session-id': 'one' };
  for (let i = 0; i < 2; i += 1) {
    assert.equal((await call(`${app.url}/github`, { headers, body: 'hello' })).text, body);
  }
  assert.equal(authorizationServer.requests.length, 2);
});

const WARNING = /also valid at other audiences/;

/** A gateway whose authorization server issues tokens with this `aud`. */
async function start(t: TestContext, audience: string[], expectAudience?: unknown) {
  const route = { audience: 'github', ...(expectAudience !== undefined && { expect_audience: expectAudience }) };
  const gateway = await startGateway(t, { route });
  const { app, authorizationServer, authorization } = gateway;
  authorizationServer.behaviour = { kind: 'issue', audience };
  const send = (session: string) =>
    call(`${app.url}/github`, { headers: { authorization, 'mcp-session-id': session } });
  const warnings = () => app.logs.filter(({ msg }) => WARNING.test(String(msg)));
  return { ...gateway, send, warnings };
}

test('forwards a token that is also valid elsewhere, and warns once for each route', async (t) => {
  const { send, warnings } = await start(t, ['github', 'docs']);
  for (const session of ['one', 'two']) assert.equal((await send(session)).status, 200);
  const [warning, ...more] = warnings();
  assert.deepEqual([warning?.route, warning?.authorization_server, warning?.level], ['github', 'local', 'warn']);
  assert.deepEqual(more, []);
});

test('refuses a token that is also valid elsewhere if expect_audience.only is set', async (t) => {
  const { send, upstream, app } = await start(t, ['github', 'docs'], { only: 'github' });
  assertProblem(await send('one'), 'ERR_ISSUED_TOKEN_AUDIENCE');
  assert.equal(upstream.requests.length, 0);
  assert.match(app.logText(), /expect_audience\.only/);
});
