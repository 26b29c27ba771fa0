import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'undici';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { soon } from '../harness/eventually.ts';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';
import { assertUnexpired, EXPIRY_WAIT_MS, SHORT_LIVED, SINGLE_USE } from '../harness/short-lived-tokens.ts';
import { startSlowTls } from '../harness/slow-tls.ts';
import { echo, respond } from '../harness/upstream-handlers.ts';
import { startWebSocketServer } from '../harness/web-socket-server.ts';
import { folderOf } from '../unit/tokens/sample.ts';

const authority = createCertificateAuthority();

/** An upstream whose connections open after the given delays, and tokens that expire before the slow ones open. */
async function startSlow(t: TestContext, handler: UpstreamHandler = echo, keys: Record<string, unknown> = {}) {
  const arrivals: { bearer: string | undefined; atMs: number }[] = [];
  const gateway = await startGateway(t, {
    handler: (request, response) => {
      arrivals.push({ bearer: request.authorization[0], atMs: Date.now() });
      // Each attempt must open its own connection.
      response.setHeader('connection', 'close');
      return handler(request, response);
    },
  });
  const { app, authorizationServer, upstream, config, authorization } = gateway;
  const { slow, behind } = await behindSlowTls(t, upstream.port);
  app.reloadTo({ ...config, routes: config.routes.map((route) => ({ ...route, ...behind, ...keys })) });
  authorizationServer.behaviour = SHORT_LIVED;
  const send = () => call(`${app.url}/github`, { headers: { authorization }, body: 'hello' });
  return { ...gateway, arrivals, slow, delaysMs: slow.delaysMs, send };
}

async function behindSlowTls(t: TestContext, port: number) {
  const slow = await startSlowTls(port, authority.issueServer());
  t.after(slow.close);
  const ca = folderOf(t).write('ca.pem', authority.cert);
  return { slow, behind: { upstream: slow.url, tls: { ca: { file: ca } } } };
}

test('replaces a token that expires while the connection opens', async (t) => {
  const { send, delaysMs, arrivals, authorizationServer, app } = await startSlow(t);
  delaysMs.push(EXPIRY_WAIT_MS);
  const response = await send();
  assert.deepEqual([response.status, JSON.parse(response.text).body], [200, 'hello']);
  assert.equal(authorizationServer.requests.length, 2);
  assert.equal(arrivals.length, 1);
  assertUnexpired(authorizationServer, arrivals);
  assert.ok(!app.logs.some(({ level }) => Number(level) >= 50));
});

test('returns an error if connecting always outlasts the token', async (t) => {
  const { send, slow, arrivals, app } = await startSlow(t);
  slow.delaysMs.push(EXPIRY_WAIT_MS, EXPIRY_WAIT_MS);
  // Otherwise the retry would use the connection that the first attempt opened.
  slow.closedAtOnce = 1;
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(arrivals.length, 0);
  assert.match(JSON.stringify(app.logs), /connecting to the upstream took longer than a token lives/);
});

test('sends a single-use token on a slow connection, and requests it once', async (t) => {
  const { send, delaysMs, arrivals, authorizationServer } = await startSlow(t);
  authorizationServer.behaviour = SINGLE_USE;
  delaysMs.push(EXPIRY_WAIT_MS);
  assert.equal((await send()).status, 200);
  assert.deepEqual([authorizationServer.requests.length, arrivals.length], [1, 1]);
});

test('replaces a token that expires while the retry after a 401 connects', async (t) => {
  let refused = false;
  const { send, delaysMs, arrivals, authorizationServer } = await startSlow(t, (request, response) => {
    if (refused) return echo(request, response);
    refused = true;
    return respond(401)(request, response);
  });
  delaysMs.push(0, EXPIRY_WAIT_MS);
  const response = await send();
  assert.deepEqual([response.status, JSON.parse(response.text).body], [200, 'hello']);
  assert.deepEqual([authorizationServer.requests.length, arrivals.length], [3, 2]);
  assertUnexpired(authorizationServer, arrivals);
});

test('replaces a token with more scopes that expires while the retry connects', async (t) => {
  const challenge = { 'www-authenticate': 'Bearer error="insufficient_scope", scope="more"' };
  let refused = false;
  const { send, delaysMs, arrivals, authorizationServer } = await startSlow(
    t,
    (request, response) => {
      if (refused) return echo(request, response);
      refused = true;
      return respond(403, 'more', challenge)(request, response);
    },
    { step_up: ['more'] },
  );
  delaysMs.push(0, EXPIRY_WAIT_MS);
  assert.equal((await send()).status, 200);
  assert.deepEqual([authorizationServer.requests.length, arrivals.length], [3, 2]);
  assertUnexpired(authorizationServer, arrivals);
});

test('replaces a token that expires while a WebSocket handshake connects', async (t) => {
  const backend = await startWebSocketServer();
  t.after(backend.close);
  const { slow, behind } = await behindSlowTls(t, backend.port);
  const { app, authorization, authorizationServer } = await startGateway(t, { route: behind });
  authorizationServer.behaviour = SHORT_LIVED;
  slow.delaysMs.push(EXPIRY_WAIT_MS);
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/github`, { headers: { authorization } });
  t.after(() => socket.close());
  await soon('the WebSocket is open', new Promise((resolve) => socket.addEventListener('open', resolve)));
  assert.equal(authorizationServer.requests.length, 2);
  assertUnexpired(
    authorizationServer,
    backend.handshakes.map(({ authorization: bearer }) => ({ bearer, atMs: Date.now() })),
  );
});
