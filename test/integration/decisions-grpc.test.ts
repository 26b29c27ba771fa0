import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { credentials, status, type VerifyOptions } from '@grpc/grpc-js';
import { type CertificateAuthority, createCertificateAuthority, listenerTls } from '../harness/certificates.ts';
import { type Check, checkRequest, startCheckClient } from '../harness/check-client.ts';
import { eventually } from '../harness/eventually.ts';
import { AS_DATA_PLANE, DECISION_SECRET, startDecisionGateway, startGateway } from '../harness/gateway.ts';
import type { ServerTls } from '../harness/http-server.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { startSpiffeAgent, svidParts, x509SvidResponse } from '../harness/spiffe-agent.ts';

const CHECK = '/envoy.service.auth.v3.Authorization/Check';

/** cambist as the decision service of a data plane that asks by gRPC. */
async function start(t: TestContext, options: Parameters<typeof startDecisionGateway>[2] = {}) {
  const gateway = await startDecisionGateway(t, 'grpc', options);
  const client = startCheckClient(t, gateway.app.decisionsByGrpc ?? '');
  /** The headers with the caller's token. */
  const usual: NonNullable<Check['headers']> = [['authorization', gateway.authorization]];
  const ask = (check: Check = {}) => client.check({ headers: usual, ...check }, AS_DATA_PLANE);
  return { ...gateway, client, usual, ask };
}

const GRPC = { ':method': 'POST', 'content-type': 'application/grpc' };

/** The credentials of a channel to a server of this authority, with the certificate of a client. */
function channelOf({ cert }: CertificateAuthority, client?: Pair, options: VerifyOptions = {}) {
  const [key, chain] = [client?.key, client?.cert].map((pem) => (pem === undefined ? null : Buffer.from(pem)));
  return credentials.createSsl(Buffer.from(cert), key, chain, options);
}

type Pair = Pick<ServerTls, 'key' | 'cert'>;

const hasCode = (code: status) => (error: unknown) => (error as { readonly code?: number }).code === code;
const isDenied = hasCode(status.PERMISSION_DENIED);

for (const isRaw of [false, true]) {
  test(`allows with the issued token, refuses without a caller, and counts both: ${isRaw ? 'raw headers' : 'a map'}`, async (t) => {
    const { ask, authorization, authorizationServer, upstream, subjectToken, app } = await start(t);
    const headers = [
      [':path', '/docs'],
      ['authorization', authorization],
      ['content-length', '17'],
      ['X-Copy', `a ${subjectToken} b`],
    ] as const;
    for (const _ of [1, 2]) {
      const allowed = await ask({ headers, isRaw });
      assert.equal(allowed.isAllowed, true);
      assert.equal(allowed.headers.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
      assert.deepEqual(Object.keys(allowed.headers).sort(), ['authorization', 'x-request-id']);
      assert.ok(!allowed.removed.includes('authorization'));
      for (const name of ['dpop', 'x_original_url', 'x-http-method-override', 'x-copy']) {
        assert.ok(allowed.removed.includes(name), name);
      }
    }
    assert.equal(authorizationServer.requests.length, 1);
    const refused = await ask({ headers: [], isRaw });
    assert.deepEqual([refused.isAllowed, refused.status, refused.removed], [false, 401, []]);
    assert.match(String(refused.headers['www-authenticate']), /^Bearer /);
    assert.match(refused.body, /ERR_SUBJECT_TOKEN_MISSING/);
    assert.equal(refused.headers.authorization, undefined);
    assert.equal(upstream.requests.length, 0);
    for (const counted of ['result="allowed"} 2', 'result="refused"} 1']) {
      const line = `cambist_decisions_total{protocol="grpc",${counted}\n`;
      await eventually('the decisions are counted', async () => (await app.metrics()).includes(line));
    }
    assert.match(app.logText(), /"way_in":"decision","status":200,"outcome":"forwarded"/);
    assert.doesNotMatch(app.logText(), /aborted_by/);
  });
}

test('refuses duplicate credentials, joined with commas or apart', async (t) => {
  const { ask, authorization, subjectToken } = await start(t, { route: { subject_token: { header: 'X-Token' } } });
  const token: Check['headers'] = [['x-token', subjectToken]];
  assert.equal((await ask({ headers: token })).isAllowed, true);
  for (const headers of [
    [['x-token', `${subjectToken},${subjectToken}`]],
    [['x-token', `${authorization}, ${authorization}`]],
    [...token, ...token],
    [...token, ['authorization', authorization], ['authorization', authorization]],
  ] as const) {
    for (const isRaw of [false, true]) {
      assert.equal((await ask({ headers, isRaw })).status, 401, JSON.stringify(headers.map(([name]) => name)));
    }
  }
});

test('the secret is required, and a client without it learns nothing', async (t) => {
  const { client, app } = await start(t);
  for (const metadata of [{}, { 'x-cambist-decision-secret': 'wrong' }]) {
    await assert.rejects(client.check({}, metadata), isDenied);
    await assert.rejects(client.send(CHECK, Buffer.from('malformed'), metadata), isDenied);
  }
  // A header of the request that is asked about does not count.
  const headers = [['x-cambist-decision-secret', DECISION_SECRET]] as const;
  await assert.rejects(client.check({ headers }), isDenied);
  assert.match(app.logText(), /refused a decision/);
  assert.doesNotMatch(app.logText(), new RegExp(DECISION_SECRET));
});

test('the route comes from context_extensions alone', async (t) => {
  const { ask, usual } = await start(t, {
    moreRoutes: [{ name: 'reads', match: { path: '/reads', methods: ['GET'] }, upstream: 'http://127.0.0.1:1/mcp' }],
  });
  const route = ['route', 'github'] as const;
  const withHeader = (...header: [string, string]) => ({ headers: [...usual, header] });
  assert.equal((await ask({ path: '/docs' })).isAllowed, true);
  for (const check of [
    { context: [] },
    { context: [['other', 'github']] },
    { context: [['route', '']] },
    { context: [['route', 'unknown']] },
    { context: [['route', 'a\nb']] },
    { context: [route, route] },
    { context: [], headers: [['x-cambist-route', 'github']] },
    { context: [['route', 'reads']], method: 'DELETE' },
    { method: 'TRACE' },
    { method: 'CONNECT' },
    { method: 'GET x' },
    { path: '' },
    { path: 'http://other.example.com/github' },
    { path: '/github\r\n' },
    { host: 'a b' },
    withHeader('x-a', 'b\r\nc'),
    withHeader('x a', 'b'),
    withHeader('x-a', 'b'.repeat(40_000)),
  ] as readonly Check[]) {
    const response = await ask(check);
    assert.deepEqual([response.isAllowed, response.status, response.headers.authorization], [false, 403, undefined]);
  }
});

test('by match, the reported host, path and message choose the route', async (t) => {
  const tools = (name: string) => ({ path: '/tools', mcp_method: 'tools/call', mcp_name: name });
  const { ask, usual, authorizationServer } = await start(t, {
    decisions: { routes_by: 'match' },
    moreRoutes: [{ name: 'reads', match: tools('read'), upstream: 'http://127.0.0.1:1/mcp', scope: 'read' }],
  });
  const rawBody = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'read' } });
  const headers = [...usual, ['content-type', 'application/json']] as const;
  const asked = { method: 'POST', path: '/tools', context: [], headers };
  assert.equal((await ask({ ...asked, rawBody })).isAllowed, true);
  assert.equal(authorizationServer.requests[0]?.form.get('scope'), 'read');
  // Envoy writes bytes that are not UTF-8 as "!" in text.
  assert.equal((await ask({ ...asked, body: rawBody })).status, 403);
  const partial = { ...asked, headers: [...headers, ['x-envoy-auth-partial-body', 'true']] as const };
  assert.equal((await ask({ ...partial, rawBody })).status, 413);
  assert.equal((await ask(asked)).status, 403);
  assert.equal((await ask({ ...asked, path: '/github/../tools', rawBody })).status, 403);
  // No route depends on the message here.
  assert.equal((await ask({ ...asked, path: '/github/x', body: rawBody })).isAllowed, true);
  assert.equal((await ask({ ...asked, path: '/github/x', rawBody: Buffer.alloc(200_000) })).isAllowed, true);
});

test('preflights pass without a credential only where the config allows them', async (t) => {
  const { ask } = await start(t, { decisions: { preflights: 'allow' } });
  const headers = Object.entries({ origin: 'https://app.example.com', 'access-control-request-method': 'POST' });
  const allowed = await ask({ method: 'OPTIONS', headers });
  assert.deepEqual([allowed.isAllowed, Object.keys(allowed.headers)], [true, ['x-request-id']]);
  assert.ok(allowed.removed.includes('authorization'));
  assert.equal((await ask({ method: 'POST', headers })).isAllowed, false);
});

test('reports the health of cambist without a secret', async (t) => {
  const { client, app } = await start(t);
  await eventually('readiness', async () => (await client.health()) === 1);
  assert.equal(await client.health('envoy.service.auth.v3.Authorization'), 1);
  await assert.rejects(client.health('other'), hasCode(status.NOT_FOUND));
  const stopping = app.stop();
  assert.equal(await client.health(), 2);
  await stopping;
});

test('bounds the health checks that clients leave open, and still responds to others', async (t) => {
  const { client, app } = await start(t);
  const session = connectHttp2(app.decisionsByGrpc ?? '');
  session.on('error', () => {});
  const calls = Array.from({ length: 1000 }, () =>
    session.request({ ...GRPC, ':path': '/grpc.health.v1.Health/Check' }).on('error', () => {}),
  );
  await new Promise((resolve) => session.ping(resolve));
  await eventually('readiness', async () => (await client.health()) === 1);
  await eventually('the oldest call is cancelled', () => calls[0]?.closed === true);
  assert.equal(calls.at(-1)?.closed, false);
  session.destroy();
});

test('refuses calls that are malformed, too large, compressed or unknown', async (t) => {
  const { client, app, ask } = await start(t);
  const request = checkRequest({});
  for (const [path, sent, code] of [
    [CHECK, request.subarray(0, -1), status.INVALID_ARGUMENT],
    [CHECK, Buffer.alloc(5 * 1024 * 1024), status.RESOURCE_EXHAUSTED],
    ['/envoy.service.auth.v3.Authorization/Other', request, status.UNIMPLEMENTED],
    ['/constructor', request, status.UNIMPLEMENTED],
    ['/grpc.health.v1.Health/Check', Buffer.alloc(2000), status.RESOURCE_EXHAUSTED],
    ['/grpc.health.v1.Health/Watch', request, status.UNIMPLEMENTED],
  ] as const) {
    await assert.rejects(client.send(path, sent, AS_DATA_PLANE), hasCode(code), path);
  }
  const compressing = startCheckClient(t, app.decisionsByGrpc ?? '', { 'grpc.default_compression_algorithm': 2 });
  await assert.rejects(compressing.send(CHECK, request, AS_DATA_PLANE), hasCode(status.UNIMPLEMENTED));
  const plain = connectHttp2(app.decisionsByGrpc ?? '');
  t.after(() => plain.destroy());
  const stream = plain.request({ ':path': CHECK, ...AS_DATA_PLANE });
  assert.equal((await once(stream, 'response'))[0][':status'], 415);
  assert.equal((await ask()).isAllowed, true);
});

test('an exchange that outlives the check is cached for the next one', async (t) => {
  const { client, ask, authorizationServer, usual: headers } = await start(t);
  authorizationServer.behaviour = { kind: 'issue', delayMs: 700 };
  const early = client.check({ headers }, AS_DATA_PLANE, { deadline: Date.now() + 300 });
  await assert.rejects(early, hasCode(status.DEADLINE_EXCEEDED));
  assert.equal((await ask()).isAllowed, true);
  assert.equal(authorizationServer.requests.length, 1);
});

test('a secret that a reload removes stays required until the restart', async (t) => {
  const { app, config, client, ask } = await start(t);
  for (const decisions of [{ grpc: { listen: `unix:${temporaryFolder(t)}/s` } }, undefined]) {
    assert.ok(app.reloadTo({ ...config, decisions }).length > 0);
    await assert.rejects(client.check({}), isDenied);
    assert.equal((await ask()).isAllowed, true);
  }
});

test('takes a Unix socket, and client certificates', async (t) => {
  const folder = temporaryFolder(t);
  const socket = join(folder, 'grpc.sock');
  const { app, usual: headers } = await start(t, { decisions: { grpc: { listen: `unix:${socket}` } } });
  assert.equal((await startCheckClient(t, app.decisionsByGrpc ?? '').check({ headers })).isAllowed, true);

  const authority = createCertificateAuthority();
  const tls = listenerTls(folder, authority);
  const secure = await start(t, { decisions: { grpc: { listen: { address: '127.0.0.1:0', tls } } } });
  const ask = (client?: Pair) => {
    const asking = startCheckClient(t, secure.app.decisionsByGrpc ?? '', {}, channelOf(authority, client));
    return asking.check({ headers: secure.usual });
  };
  assert.equal((await ask(authority.issueClient())).isAllowed, true);
  await assert.rejects(ask(), hasCode(status.UNAVAILABLE));
});

test('lets calls in flight finish at shutdown', async (t) => {
  const { ask, app, authorizationServer } = await start(t);
  authorizationServer.behaviour = { kind: 'issue', delayMs: 700 };
  const asked = ask();
  await eventually('the exchange', () => authorizationServer.requests.length === 1);
  const stopping = app.stop();
  assert.equal((await asked).isAllowed, true);
  await stopping;
});

test('an idle connection gives way to a new one at the limit', async (t) => {
  const { ask, app, usual: headers } = await start(t, { top: { limits: { max_connections: 2 } } });
  const idle = connectHttp2(app.decisionsByGrpc ?? '');
  idle.on('error', () => {});
  await new Promise((resolve) => idle.once('connect', resolve));
  // A call without a message, or without an end, does not occupy it.
  const [, unfinished] = [1, 2].map(() =>
    idle.request({ ...GRPC, ':path': '/grpc.health.v1.Health/Check' }).on('error', () => {}),
  );
  unfinished?.write(Buffer.alloc(5));
  assert.equal((await ask()).isAllowed, true);
  const third = startCheckClient(t, app.decisionsByGrpc ?? '');
  assert.equal((await third.check({ headers }, AS_DATA_PLANE)).isAllowed, true);
  await eventually('the idle connection is closed', () => idle.closed || idle.destroyed);
});

test('says that a client does not speak HTTP/2', async (t) => {
  const { app } = await start(t);
  const socket = connect(Number(new URL(app.decisionsByGrpc ?? '').port), '127.0.0.1');
  t.after(() => socket.destroy());
  socket.on('error', () => {}).write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await eventually('the log line', () => /decisions\.grpc: received bytes that are not HTTP\/2/.test(app.logText()));
});

for (const isSpiffe of [false, true]) {
  test(`the agent is the one that the data plane forwards, ${isSpiffe ? 'over tls: spiffe' : 'with client_ca'}`, async (t) => {
    const authority = createCertificateAuthority();
    const [own, plane, agent] = ['cambist', 'plane', 'agent'].map((name) => `spiffe://example.org/${name}` as const);
    assert.ok(own && plane && agent);
    const server = authority.issueServer({ hosts: [own] });
    const workloads = await startSpiffeAgent(t);
    workloads.send(x509SvidResponse([svidParts(own, server, authority.cert)]));
    const listen = {
      address: '127.0.0.1:0',
      tls: isSpiffe ? 'spiffe' : listenerTls(temporaryFolder(t), authority, server),
    };
    const known = { one: { spiffe_id: agent }, plane: { spiffe_id: plane } };
    const agents = { certificate: true, forwarded: { from: [plane] }, known };
    const spiffe = isSpiffe && { spiffe: { socket: workloads.address } };
    const { app, authorization } = await startGateway(t, {
      top: { ...spiffe, listen, decisions: { grpc: { listen } }, agents },
    });
    const statusOf = async (client: string, headers: Check['headers'] = []) => {
      const pair = authority.issueClient({ hosts: [client] });
      const channel = channelOf(authority, pair, { checkServerIdentity: () => undefined });
      const asking = startCheckClient(t, app.decisionsByGrpc ?? '', {}, channel);
      return (await asking.check({ headers: [['authorization', authorization], ...headers] })).status ?? 200;
    };
    const forwarded: Check['headers'] = [['x-forwarded-client-cert', `URI=${agent}`]];
    assert.equal(await statusOf(plane, forwarded), 200);
    assert.match(app.logText(), /"agent":"one"/);
    // A certificate of a data plane, or of another client, is not that of an agent.
    assert.equal(await statusOf(plane), 401);
    assert.equal(await statusOf(agent, forwarded), 401);
  });
}
