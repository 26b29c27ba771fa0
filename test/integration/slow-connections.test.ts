import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { WebSocket } from 'undici';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { soon } from '../harness/eventually.ts';
import type { UpstreamHandler } from '../harness/fake-upstream.ts';
import { startGateway } from '../harness/gateway.ts';
import { call } from '../harness/http-call.ts';
import { assertProblem } from '../harness/problem.ts';
import { assertAlive, FOR_ONE_USE, LONGER_MS, SHORT } from '../harness/short-lives.ts';
import { startSlowTls } from '../harness/slow-tls.ts';
import { answer, echo } from '../harness/upstream-handlers.ts';
import { startWebSocketServer } from '../harness/web-socket-server.ts';
import { folderOf } from '../unit/tokens/sample.ts';

const authority = createCertificateAuthority();

/** An upstream whose connections take as long as a test says, and tokens that live less than the slow ones take. */
async function startSlow(t: TestContext, handler: UpstreamHandler = echo, keys: Record<string, unknown> = {}) {
  const arrivals: { bearer: string | undefined; atMs: number }[] = [];
  const gateway = await startGateway(t, {
    handler: (request, response) => {
      arrivals.push({ bearer: request.authorization[0], atMs: Date.now() });
      // Each attempt needs a connection of its own.
      response.setHeader('connection', 'close');
      return handler(request, response);
    },
  });
  const { app, authorizationServer, upstream, config, authorization } = gateway;
  const { slow, behind } = await behindSlowTls(t, upstream.port);
  app.reloadTo({ ...config, routes: config.routes.map((route) => ({ ...route, ...behind, ...keys })) });
  authorizationServer.mood = SHORT;
  const send = () => call(`${app.url}/github`, { headers: { authorization }, body: 'hello' });
  return { ...gateway, arrivals, slow, delaysMs: slow.delaysMs, send };
}

async function behindSlowTls(t: TestContext, port: number) {
  const slow = await startSlowTls(port, authority.issueServer());
  t.after(slow.close);
  const ca = folderOf(t).write('ca.pem', authority.cert);
  return { slow, behind: { upstream: slow.url, tls: { ca: { file: ca } } } };
}

test('a token whose end passes while the connection is made is not sent: another one is', async (t) => {
  const { send, delaysMs, arrivals, authorizationServer, app } = await startSlow(t);
  delaysMs.push(LONGER_MS);
  const answered = await send();
  assert.deepEqual([answered.status, JSON.parse(answered.text).body], [200, 'hello']);
  assert.equal(authorizationServer.requests.length, 2);
  assert.equal(arrivals.length, 1);
  assertAlive(authorizationServer, arrivals);
  assert.ok(!app.logs.some(({ level }) => Number(level) >= 50));
});

test('where connecting always takes longer than a token lives nothing is sent, and the caller is told', async (t) => {
  const { send, slow, arrivals, app } = await startSlow(t);
  slow.delaysMs.push(LONGER_MS, LONGER_MS);
  // The second attempt would go out on the connection that the first has waited for.
  slow.closedAtOnce = 1;
  assertProblem(await send(), 'ERR_UPSTREAM_UNREACHABLE');
  assert.equal(arrivals.length, 0);
  assert.match(JSON.stringify(app.logs), /connecting to the upstream took longer than a token lives/);
});

test('a token for one use is sent on a slow connection as well, and asked for once', async (t) => {
  const { send, delaysMs, arrivals, authorizationServer } = await startSlow(t);
  authorizationServer.mood = FOR_ONE_USE;
  delaysMs.push(LONGER_MS);
  assert.equal((await send()).status, 200);
  assert.deepEqual([authorizationServer.requests.length, arrivals.length], [1, 1]);
});

test('nor is one sent that ends while the second attempt after a 401 connects', async (t) => {
  let refused = false;
  const { send, delaysMs, arrivals, authorizationServer } = await startSlow(t, (request, response) => {
    if (refused) return echo(request, response);
    refused = true;
    return answer(401)(request, response);
  });
  delaysMs.push(0, LONGER_MS);
  const answered = await send();
  assert.deepEqual([answered.status, JSON.parse(answered.text).body], [200, 'hello']);
  assert.deepEqual([authorizationServer.requests.length, arrivals.length], [3, 2]);
  assertAlive(authorizationServer, arrivals);
});

test('nor one with more scopes that ends while the second attempt connects', async (t) => {
  const challenge = { 'www-authenticate': 'Bearer error="insufficient_scope", scope="more"' };
  let refused = false;
  const { send, delaysMs, arrivals, authorizationServer } = await startSlow(
    t,
    (request, response) => {
      if (refused) return echo(request, response);
      refused = true;
      return answer(403, 'more', challenge)(request, response);
    },
    { step_up: ['more'] },
  );
  delaysMs.push(0, LONGER_MS);
  assert.equal((await send()).status, 200);
  assert.deepEqual([authorizationServer.requests.length, arrivals.length], [3, 2]);
  assertAlive(authorizationServer, arrivals);
});

test('nor one of a WebSocket handshake', async (t) => {
  const backend = await startWebSocketServer();
  t.after(backend.close);
  const { slow, behind } = await behindSlowTls(t, backend.port);
  const { app, authorization, authorizationServer } = await startGateway(t, { route: behind });
  authorizationServer.mood = SHORT;
  slow.delaysMs.push(LONGER_MS);
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/github`, { headers: { authorization } });
  t.after(() => socket.close());
  await soon('it is open', new Promise((resolve) => socket.addEventListener('open', resolve)));
  assert.equal(authorizationServer.requests.length, 2);
  assertAlive(
    authorizationServer,
    backend.handshakes.map(({ authorization: bearer }) => ({ bearer, atMs: Date.now() })),
  );
});
