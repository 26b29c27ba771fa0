import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { get } from '../harness/disconnects.ts';
import { deferred, eventually, soon } from '../harness/eventually.ts';
import { sendResponse, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { skippedTime } from '../harness/fake-clock.ts';
import { LOGOUT, postLogout } from '../harness/fake-transmitter.ts';
import { delayed, respond, startFakeUpstream } from '../harness/fake-upstream.ts';
import { type GatewayConfig, startGateway, startPlainGateway } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw, open } from '../harness/http-call.ts';
import { freePort } from '../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

const withRoute = (config: GatewayConfig, change: Record<string, unknown>): GatewayConfig => ({
  ...config,
  routes: config.routes.map((route) => ({ ...route, ...change })),
});

test('applies a new config to the next request, and finishes a request in flight on the previous config', async (t) => {
  const { app, upstream, authorization, config } = await startGateway(t, {
    handler: delayed(300, respond(200, 'old')),
  });
  const other = await startFakeUpstream(t, respond(200, 'new'));
  const headers = { authorization };
  const inFlight = call(`${app.url}/github`, { headers });
  await eventually('the old upstream has the request', () => upstream.requests.length === 1);
  app.reloadTo(withRoute(config, { upstream: other.url }));
  assert.equal((await call(`${app.url}/github`, { headers })).text, 'new');
  assert.equal((await inFlight).text, 'old');
});

test('keeps the tokens of an unchanged route, and drops those of a route whose tokens would differ', async (t) => {
  const { app, authorizationServer, authorization, config } = await startGateway(t);
  const exchangesAfter = async (next: GatewayConfig): Promise<number> => {
    app.reloadTo(next);
    assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
    return authorizationServer.requests.length;
  };
  assert.equal(await exchangesAfter(config), 1);
  assert.equal(await exchangesAfter({ ...config, log: { level: 'debug' } }), 1);
  assert.equal(await exchangesAfter(withRoute(config, { timeouts: { connect: '1s' } })), 1);
  assert.equal(await exchangesAfter(withRoute(config, { scope: 'repo:read' })), 2);
  assert.equal(authorizationServer.requests.at(-1)?.form.get('scope'), 'repo:read');
});

test('applies a lower max_age to cached tokens', async (t) => {
  const skip = skippedTime(t);
  const { app, authorizationServer, authorization, config } = await startGateway(t);
  const ask = () => call(`${app.url}/github`, { headers: { authorization } });
  await ask();
  app.reloadTo({ ...config, cache: { max_age: '30s' } });
  skip(30_000);
  assert.equal((await ask()).status, 200);
  assert.equal(authorizationServer.requests.length, 2);
});

test('keeps connections to upstreams over a reload', async (t) => {
  const ports = new Set<number | undefined>();
  const { app, authorization, config } = await startGateway(t, {
    async handler(received, response) {
      ports.add(received.message.socket.remotePort);
      await respond(200, 'x')(received, response);
    },
  });
  for (let i = 0; i < 3; i += 1) {
    await call(`${app.url}/github`, { headers: { authorization } });
    app.reloadTo({ ...config, cache: { max_age: `${i + 1}m` } });
  }
  assert.equal(ports.size, 1);
});

test('ignores failures of requests on a previous config in the state of the authorization server', async (t) => {
  const { app, authorizationServer, authorization, config } = await startGateway(t);
  const other = await startFakeAuthorizationServer(t);
  authorizationServer.behaviour = { kind: 'response', status: 503 };
  const head = `POST /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nContent-Length: 2\r\n`;
  const callers = await Promise.all(['a', 'b', 'c', 'd'].map(() => connectRaw(app.url)));
  for (const [index, caller] of callers.entries()) caller.send(`${head}Mcp-Session-Id: ${index}\r\n\r\n1`);
  await app.metricBecomes('cambist_requests_in_flight', callers.length);
  const server = { ...config.authorization_servers.local, token_endpoint: other.tokenEndpoint };
  app.reloadTo({ ...config, authorization_servers: { local: server } });
  for (const caller of callers) {
    caller.send('2');
    await caller.until('HTTP/1.1 503');
  }
  assert.ok(authorizationServer.requests.length >= 3);
  assert.equal(await app.metric('cambist_authorization_server_available'), 1);
  assert.equal((await app.status()).authorization_servers[0]?.state, 'available');
});

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

const top = { limits: { shutdown_grace: '4s' } };

test('serves new requests for a moment on shutdown, then refuses them, and finishes those in flight', async (t) => {
  const { respond, handler } = manualUpstream();
  const { app } = await startPlainGateway(t, {
    top,
    handler: async (received, response) => {
      if (received.url.endsWith('/held')) await handler(received, response);
      else sendResponse(response, 200, 'ok');
    },
  });
  const idle = await connectRaw(app.url);
  idle.send(get('/plain'));
  await soon('a response', idle.until('ok'));
  const inFlight = call(`${app.url}/plain/held`);
  const stopped = app.stop();
  assert.equal((await call(`${app.admin}/readyz`)).status, 503);
  const served = await call(`${app.url}/plain`, { headers: ['connection', 'keep-alive'] });
  assert.deepEqual([served.status, served.headers.connection], [200, 'close']);
  assert.equal(idle.socket.closed, false);
  await soon('an idle connection is closed', idle.closed());
  const refused = await call(`${app.url}/plain`);
  assertProblem(refused, 'ERR_SHUTTING_DOWN');
  assert.match(refused.headers['retry-after'] ?? '', /^\d+$/);
  assert.equal(refused.headers.connection, 'close');
  respond();
  const response = await inFlight;
  assert.deepEqual([response.status, response.text], [200, 'done']);
  await soon('the proxy has stopped', stopped);
  await assert.rejects(call(`${app.url}/plain`), { code: 'ECONNREFUSED' });
  await assert.rejects(call(`${app.admin}/livez`), { code: 'ECONNREFUSED' });
});

test('serves the next request of a client whose response began before the shutdown', async (t) => {
  const { promise: released, resolve: release } = deferred<void>();
  const { app } = await startPlainGateway(t, {
    top,
    handler: async (received, response) => {
      if (!received.url.endsWith('/held')) return sendResponse(response, 200, 'ok');
      response.writeHead(200).flushHeaders();
      await released;
      response.end();
    },
  });
  const client = await connectRaw(app.url);
  client.send(get('/plain/held'));
  await soon('the headers', client.until('200 OK'));
  const stopped = app.stop();
  await eventually('it refuses', async () => (await call(`${app.url}/plain`)).status === 503);
  release();
  await soon('the end', client.until(/0\r\n\r\n$/));
  client.send(get('/plain'));
  assert.match(await soon('the last response', client.until('ok')), /200 OK[\s\S]*200 OK[\s\S]*connection: close/i);
  await soon('the connection is closed', client.closed());
  await soon('the proxy has stopped', stopped);
});

test('sends no response to a request pipelined behind the last one of a connection', async (t) => {
  const { respond, handler } = manualUpstream();
  const { app, upstream } = await startPlainGateway(t, { handler });
  const connection = await connectRaw(app.url);
  connection.send(get('/plain').repeat(2));
  await eventually('the upstream has both requests', () => upstream.requests.length === 2);
  const stopped = app.stop();
  respond();
  const received = await soon('the connection is closed', connection.closed());
  assert.match(received, /^HTTP\/1\.1 200 [\s\S]*connection: close[\s\S]*done\r\n0\r\n\r\n$/i);
  assert.equal(received.split('HTTP/1.1 ').length, 2);
  await soon('the proxy has stopped', stopped);
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

/** cambist with a shared cache that is away. */
async function start(t: TestContext, grace: string) {
  const key = writerInto(temporaryFolder(t))('key', 'the key that all replicas of this test share');
  const idp = await startFakeAuthorizationServer(t);
  let respond = (): void => {};
  const { app, upstream } = await startPlainGateway(t, {
    handler: (_request, response) => {
      respond = () => void response.end();
    },
    top: {
      limits: { shutdown_grace: grace },
      cache: { shared: { url: `redis://127.0.0.1:${await freePort()}`, key } },
      signals: {
        listen: '127.0.0.1:0',
        transmitters: { idp: { issuer: idp.issuer, audience: 'cambist', backchannel_logout: true } },
      },
    },
  });
  async function logout(): Promise<number> {
    const claims = { jti: '1', sid: 's1', events: LOGOUT };
    const token = await idp.mint({ subject: 'alice', audience: 'cambist', type: 'logout+jwt', claims });
    return (await postLogout(app.signals, token)).status;
  }
  const revocationLines = () =>
    app.logs.filter(({ msg }) => /revocations/.test(String(msg))).map(({ level, msg }) => `${level}: ${msg}`);
  return { app, upstream, respond: () => respond(), logout, revocationLines };
}

const WAITS = 'warn: revocations that other replicas do not know: 2; waiting for the shared cache';
const LOST = 'error: stopping; revocations that other replicas do not know: 2';

test('tells the operator which revocations are lost when the shared cache stays away for the shutdown grace', async (t) => {
  const { app, logout, revocationLines } = await start(t, '10ms');
  assert.equal(await logout(), 200);
  await app.stop();
  // One for the session, and one for tokens of its user that name no session.
  assert.deepEqual(revocationLines(), [WAITS, LOST]);
});

test('waits for the shared cache also with a revocation that arrives while requests finish', async (t) => {
  const { app, upstream, respond, logout, revocationLines } = await start(t, '1h');
  const request = call(`${app.url}/plain`);
  await eventually('the backend has the request', () => upstream.requests.length === 1);
  const hurry = new AbortController();
  const stopping = app.stop(hurry.signal);
  assert.equal(await logout(), 200);
  respond();
  await request;
  await eventually('the wait', () => revocationLines().includes(WAITS));
  hurry.abort();
  await stopping;
  assert.deepEqual(revocationLines(), [WAITS, LOST]);
});

test('stops without a word about revocations when other replicas miss none', async (t) => {
  const { app, revocationLines } = await start(t, '10ms');
  await app.stop();
  assert.deepEqual(revocationLines(), []);
});
