import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent as PlainAgent } from 'node:http';
import { Agent } from 'node:https';
import { connect } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { connect as connectTls } from 'node:tls';
import type { DecisionReport } from '../../src/admin/decision-report.ts';
import { tail } from '../../src/commands/tail.ts';
import { readRecords, recordsOf } from '../harness/audit-records.ts';
import { createCertificateAuthority, listenerTls } from '../harness/certificates.ts';
import { deferred, eventually } from '../harness/eventually.ts';
import { type MetadataBehaviour, startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { skippedTime } from '../harness/fake-clock.ts';
import { neverRespond, startFakeUpstream } from '../harness/fake-upstream.ts';
import { startGateway } from '../harness/gateway.ts';
import { assertProblem, type CallOptions, call, connectRaw } from '../harness/http-call.ts';
import { openTunnel } from '../harness/intercepted.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

const BILLING = { service_account: 'team-a/billing' };

interface Options {
  /** Overrides keys of the route, of `agents`, or of the top level. */
  readonly route?: Record<string, unknown>;
  readonly agents?: Record<string, unknown>;
  readonly top?: Record<string, unknown>;
  readonly metadata?: MetadataBehaviour;
}

/** A gateway for two agents, which it knows by their service account tokens. */
async function start(t: TestContext, { route = {}, agents, top, metadata = { kind: 'document' } }: Options = {}) {
  const cluster = await startFakeAuthorizationServer(t);
  cluster.metadataBehaviour = metadata;
  const token = { header: 'x-agent-token', issuer: cluster.issuer, audience: 'cambist' };
  const known = { billing: BILLING, support: { service_account: 'team-b/support' } };
  const gateway = await startGateway(t, { route, top: { agents: { token, known, ...agents }, ...top } });
  const tokenOf = (account: string, fields = {}) =>
    cluster.mint({ subject: `system:serviceaccount:${account}`, ...fields });
  const billing = await tokenOf('team-a:billing');
  const support = await tokenOf('team-b:support');
  /** Sends a request of the caller with this token of an agent. */
  const send = (agentToken?: string | string[], { path = '/github', agent = false, ...headers }: SendOptions = {}) => {
    const own = agentToken === undefined ? {} : { 'x-agent-token': agentToken };
    const all = { authorization: gateway.authorization, ...own, ...headers };
    return call(`${gateway.app.url}${path}`, { agent, headers: all } as never);
  };
  const sendConnect = (target: string, agentToken?: string) =>
    openTunnel(gateway.app.url, target, agentToken && `X-Agent-Token: ${agentToken}\r\n`);
  return { ...gateway, cluster, tokenOf, billing, support, send, sendConnect };
}

/** Headers, and where the request goes. */
interface SendOptions {
  readonly [header: string]: unknown;
  readonly path?: string;
  readonly agent?: unknown;
}

/** The bytes of a request with the caller's token and these lines. */
function requestText({ authorization }: { readonly authorization: string }, path: string, ...lines: string[]): string {
  return [`GET ${path} HTTP/1.1`, `Authorization: ${authorization}`, ...lines, '\r\n'].join('\r\n');
}

test('serves known agents, where its route lists them, and drops their tokens', async (t) => {
  const { send, billing, support, upstream, app } = await start(t, { route: { agents: ['billing'] } });
  for (const token of [billing, `Bearer ${billing}`]) {
    assert.equal((await send(token)).status, 200);
    assert.equal(upstream.requests.at(-1)?.headers['x-agent-token'], undefined);
  }
  assertProblem(await send(support), 'ERR_AGENT_NOT_ALLOWED');
  assert.match(app.logText(), /"agent":"billing"[\s\S]*"agent":"support"/);
});

test('refuses every token that is not one of a known agent', async (t) => {
  const { send, billing, tokenOf, cluster, subjectToken, authorizationServer, app } = await start(t);
  const subject = 'system:serviceaccount:team-a:billing';
  const invalid = {
    missing: undefined,
    'of another agent': await tokenOf('team-a:other'),
    'for another audience': await tokenOf('team-a:billing', { audience: 'other' }),
    'without exp': await tokenOf('team-a:billing', { ttlSeconds: Infinity }),
    expired: await tokenOf('team-a:billing', { ttlSeconds: -600 }),
    'signed by another issuer': await authorizationServer.mint({ subject, claims: { iss: cluster.issuer } }),
    "the caller's": subjectToken,
    malformed: 'x y z',
    opaque: 'opaque',
    repeated: [billing, billing],
  };
  for (const [name, token] of Object.entries(invalid)) {
    const response = await send(token);
    assertProblem(response, 'ERR_AGENT_UNKNOWN');
    assert.equal(response.headers['www-authenticate'], 'Bearer realm="agent"', name);
  }
  assert.equal(app.logs.filter(({ error }) => error === 'ERR_AGENT_UNKNOWN').length, Object.keys(invalid).length);
  const unknown = 'agents.known has no subject \\"system:serviceaccount:team-a:other\\" of issuer \\"http';
  assert.ok(app.logText().includes(unknown));
  assert.match(app.logText(), /: its token is not a JWT/);
  assert.doesNotMatch(app.logText(), /does not list the client/);
});

test('is not ready until it has fetched the keys that verify agents', async (t) => {
  const { cluster, app } = await start(t, { metadata: { kind: 'response', status: 500 } });
  const keys = async () => (await app.readiness()).checks['agents.token'];
  await eventually('the attempt has failed', async () => (await keys()) === 'ERR_STS_UNAVAILABLE');
  assert.match(app.logText(), /"check":"agents.token".*its metadata at .* returned status 500/);
  cluster.metadataBehaviour = { kind: 'document' };
  await eventually('cambist is ready', async () => (await app.readiness()).ready);
});

test('an agent has its identities by each of several issuers, and no other', async (t) => {
  const [cluster, ci] = [await startFakeAuthorizationServer(t), await startFakeAuthorizationServer(t)];
  const token = [cluster, ci].map(({ issuer }, index) => {
    return { header: `x-agent-token-${index}`, issuer, audience: 'cambist' };
  });
  const known = {
    billing: { service_account: 'team-a/billing', subject: 'billing', issuer: cluster.issuer },
    release: { subject: 'release', issuer: ci.issuer },
  };
  const { app, authorization } = await startGateway(t, { top: { agents: { token, known } } });
  const [billing, release] = [await cluster.mint({ subject: 'billing' }), await ci.mint({ subject: 'release' })];
  for (const [status, ...tokens] of [
    [200, await cluster.mint({ subject: 'system:serviceaccount:team-a:billing' })],
    [200, billing],
    [200, undefined, release],
    [401, undefined, await ci.mint({ subject: 'billing' })],
    [401, await cluster.mint({ subject: 'release' })],
    // Each issuer has its own header.
    [401, release],
    [401, billing, release],
  ] as const) {
    const headers = tokens.map((each, index) => each && { [`x-agent-token-${index}`]: each });
    const response = await call(`${app.url}/github`, { headers: Object.assign({ authorization }, ...headers) });
    assert.equal(response.status, status);
  }
  assert.match(app.logText(), /"agent":"billing"[\s\S]*"agent":"billing"[\s\S]*"agent":"release"/);
});

test('metadata needs an agent as well', async (t) => {
  const { send, billing } = await start(t);
  const path = '/.well-known/oauth-protected-resource/github';
  assertProblem(await send(undefined, { path }), 'ERR_AGENT_UNKNOWN');
  assert.notEqual((await send(billing, { path })).status, 401);
});

test('a reload that adds or removes agents changes nothing', async (t) => {
  const [{ app, config, send }, plain] = [await start(t), await startGateway(t)];
  const { agents, ...others } = config;
  assert.throws(() => app.reloadTo(others), /agents: .*restart cambist/);
  assertProblem(await send(), 'ERR_AGENT_UNKNOWN');
  const routes = [{ ...plain.config.routes[0], scope: 'new' }];
  assert.throws(() => plain.app.reloadTo({ ...plain.config, agents, routes }), /agents: .*restart cambist/);
  await plain.send();
  assert.equal(plain.authorizationServer.requests[0]?.form.get('scope'), null);
});

test('metrics, audit records, decisions and the status page name the agent', async (t) => {
  const file = join(temporaryFolder(t), 'audit.jsonl');
  const options = { route: { agents: ['billing'] }, top: { audit: { to: { file } } } };
  const { send, billing, support, app } = await start(t, options);
  await send(billing);
  await send(billing, { authorization: '' });
  await send(support);
  await send(support, { path: '/elsewhere' });
  await send('malformed');
  const expected = [
    ['billing', 'github', 200],
    ['billing', 'github', 401],
    ['support', 'github', 403],
    ['support', undefined, 403],
    [undefined, undefined, 401],
  ];

  for (const [agent, route, code] of [
    ['billing', 'github', '2xx'],
    ['billing', 'github', '4xx'],
    ['support', 'github', '4xx'],
    ['support', '_unmatched', '4xx'],
  ] as const) {
    const labels = { agent, route, code };
    assert.equal(await app.metric('cambist_agent_requests_total', labels), 1, JSON.stringify(labels));
  }
  assert.equal(await app.metric('cambist_agent_requests_total'), 4);
  const unknown = { route: '_unmatched', error: 'ERR_AGENT_UNKNOWN' };
  assert.equal(await app.metric('cambist_failures_total', unknown), 1);

  const { decisions } = JSON.parse((await call(`${app.admin}/decisions`)).text) as DecisionReport;
  for (const each of [recordsOf('request', readRecords(file)), decisions]) {
    const shown = each.map(({ agent, route, status }) => [agent, route, status]);
    assert.deepEqual(shown, expected);
  }
  const lines = t.mock.method(console, 'log', () => undefined);
  await tail(['--admin', new URL(app.admin).host, '--agent', 'billing', '--code', '401']);
  const [printed, ...others] = lines.mock.calls.map(({ arguments: [line] }) => String(line));
  lines.mock.restore();
  assert.deepEqual(others, []);
  assert.match(String(printed), / 401 ERR_SUBJECT_TOKEN_MISSING github \(any host, path \/github\) agent=billing$/);

  const { agents } = await app.status();
  const counts = agents?.map((each) => [each.name, each.requests, each.unauthorized, each.forbidden]);
  assert.deepEqual(counts, [
    ['billing', 2, 1, 0],
    ['support', 2, 0, 2],
  ]);
  assert.ok(agents?.every(({ in_flight: inFlight }) => inFlight === 0));
  assert.match((await call(`${app.admin}/`)).text, /<p class="more">agent billing<\/p>/);
});

test('sends the token of the agent as actor_token, and keeps the tokens of agents apart', async (t) => {
  const gateway = await start(t, { route: { actor_token: { from: 'agent' } } });
  const { send, billing, support, tokenOf, authorizationServer } = gateway;
  const renewed = await tokenOf('team-a:billing');
  for (const token of [billing, billing, renewed, support, support]) {
    assert.equal((await send(token)).status, 200);
  }
  assert.deepEqual(authorizationServer.sent('actor_token'), [billing, support]);
});

const ONE_CONNECTION = { keepAlive: true, maxSockets: 1 };

/** A connection of the caller's own, which is kept alive. */
function keepAlive(t: TestContext, agent = new PlainAgent(ONE_CONNECTION)): PlainAgent {
  t.after(() => agent.destroy());
  return agent;
}

test('an agent with many requests in flight leaves room for another', async (t) => {
  const hung = await startFakeUpstream(t, neverRespond);
  const limits = { max_in_flight: 5, max_in_flight_per_upstream: 5 };
  const target = `127.0.0.1:${hung.port}`;
  const gateway = await start(t, { top: { limits, forward_proxy: { connect: [target] } } });
  const { send, sendConnect, billing, support, app, authorization, upstream, config } = gateway;
  const { handler } = upstream;
  upstream.handler = neverRespond;
  const leaving = new AbortController();
  const options = { headers: { authorization, 'x-agent-token': billing }, signal: leaving.signal };
  const held = [1, 2, 3].map(() => call(`${app.url}/github`, options).catch(() => 'closed'));
  await eventually('the backend has the requests', () => upstream.requests.length === 3);
  await (await sendConnect(target, billing)).until('200 Connection Established');
  upstream.handler = handler;

  assertProblem(await send(billing), 'ERR_OVERLOADED');
  assert.match(app.logText(), /agent \\"billing\\" has 80 % of limits\.max_in_flight/);
  assert.match(await (await sendConnect(target, billing)).closed(), /^HTTP\/1\.1 503 [\s\S]*ERR_OVERLOADED/);
  assert.equal((await send(support)).status, 200);
  const tunnel = await sendConnect(target, support);
  await tunnel.until('200 Connection Established');
  tunnel.socket.destroy();

  app.reloadTo({ ...config, agents: { ...(config.agents as object), known: { billing: BILLING } } });
  await eventually('the only agent gets all', async () => (await send(billing)).status === 200);
  app.reloadTo(config);
  assertProblem(await send(billing), 'ERR_OVERLOADED');
  leaving.abort();
  await Promise.all(held);
  await eventually('its requests are finished', async () => (await send(billing)).status === 200);
});

test('an agent with many connections leaves room for another', async (t) => {
  const { app, send, billing, support, tokenOf, config } = await start(t, { top: { limits: { max_connections: 5 } } });
  const four = Array.from({ length: 4 }, () => keepAlive(t));
  const assertServed = async () => {
    for (const agent of four) assert.equal((await send(billing, { agent })).status, 200);
  };
  await assertServed();
  for (let i = 0; i < 3; i += 1) {
    // Verification of a new token takes a moment, after which the request is complete.
    const token = i < 2 ? billing : await tokenOf('team-a:billing', { ttlSeconds: 77 });
    const refused = await send(token, { agent: keepAlive(t) });
    assertProblem(refused, 'ERR_OVERLOADED');
    assert.equal(refused.headers.connection, 'close');
    await assertServed();
  }
  assert.match(app.logText(), /agent \\"billing\\" has 80 % of limits\.max_connections/);
  assert.equal((await send(support, { agent: keepAlive(t) })).status, 200);

  app.reloadTo({ ...config, limits: { max_connections: 2 } });
  await assertServed();
  app.reloadTo(config);
  four[0]?.destroy();
  const isServed = async () => (await send(billing, { agent: keepAlive(t) })).status === 200;
  await eventually('another takes its place', isServed);
});

test('thousands of connections of one agent keep no other agent out', async (t) => {
  const top = { limits: { max_in_flight: 100, max_connections: 500 } };
  const { app, authorization, billing, support, send } = await start(t, { top });
  assert.equal((await send(billing)).status, 200);
  const sockets = Array.from({ length: 3000 }, (_, index) => {
    const socket = connect(Number(new URL(app.url).port), '127.0.0.1')
      .on('error', () => {})
      .resume();
    const head = `GET /github HTTP/1.1\r\nHost: a\r\nAuthorization: ${authorization}\r\nX-Agent-Token: ${billing}\r\n`;
    // Silent, incomplete and complete requests.
    socket.write(['', head, `${head}\r\n`][index % 3] as string);
    return socket;
  });
  t.after(() => sockets.forEach((socket) => void socket.destroy()));
  await eventually('the flood is over', async () => !sockets.some((socket) => socket.connecting));
  // A connection that has sent nothing yet may give way to those that the flood left in the queue.
  const isServed = async (token: string): Promise<boolean> =>
    (await send(token).catch(() => undefined))?.status === 200;
  for (let i = 0; i < 20; i += 1) await eventually('another agent is served', () => isServed(support));
  for (const socket of sockets) socket.destroy();
  await eventually('the agent is served again', () => isServed(billing));
});

test('a CONNECT counts as a connection of its agent before anything follows in it', async (t) => {
  const options = { route: { match: { host: 'tools.example.com' } }, top: { limits: { max_connections: 5 } } };
  const gateway = await start(t, options);
  const { app, billing, support } = gateway;
  const connect = (token: string) => gateway.sendConnect('tools.example.com:80', token);
  const four = await Promise.all([billing, billing, billing, billing].map(connect));
  for (const connection of four) await connection.until('200 Connection Established');
  assert.match(await (await connect(billing)).closed(), /^HTTP\/1\.1 503 [\s\S]*ERR_OVERLOADED/);
  assert.equal(app.logs.filter(({ agent, status }) => agent === 'billing' && status === 503).length, 1);
  await (await connect(support)).until('200 Connection Established');
  for (const connection of four) {
    connection.send(requestText(gateway, '/a', 'Host: tools.example.com'));
    await connection.until('HTTP/1.1 200 OK');
  }
});

test('a connection with requests of two agents counts to none', async (t) => {
  const { app, send, billing, support } = await start(t, { top: { limits: { max_connections: 3 } } });
  const get = (agent: PlainAgent, token: string) => send(token, { agent });
  const connections = async () => {
    const { agents = [] } = await app.status();
    return agents.map(({ connections: each }) => each);
  };
  const proxy = keepAlive(t);
  const own = keepAlive(t);
  await get(proxy, billing);
  await get(own, billing);
  assert.deepEqual(await connections(), [2, 0]);
  await get(proxy, support);
  assert.deepEqual(await connections(), [1, 0]);
  for (const token of [billing, support, billing]) assert.equal((await get(proxy, token)).status, 200);
  assert.equal((await get(keepAlive(t), billing)).status, 200);
  assert.deepEqual(await connections(), [2, 0]);
  proxy.destroy();
  own.destroy();
  await eventually('the closed connections no longer count', async () => String(await connections()) === '1,0');
});

const BILLING_ID = 'spiffe://example.org/ns/team-a/sa/billing';
const SUPPORT = 'spiffe://example.org/ns/team-b/sa/support';
const PROXY = 'spiffe://example.org/ns/mesh/sa/gateway';

const authority = createCertificateAuthority();

const withId = (uri: string, options = {}) => authority.issueClient({ hosts: [uri], ...options });

/** A gateway with mutual TLS for agents with SPIFFE IDs, behind a proxy of the mesh. */
async function startMutual(t: TestContext, route: Record<string, unknown> = {}) {
  const folder = temporaryFolder(t);
  const tls = { ...listenerTls(folder, authority), client_certificate: 'optional' };
  const known = { billing: { ...BILLING, spiffe_id: BILLING_ID }, support: { spiffe_id: SUPPORT } };
  const gateway = await start(t, {
    route,
    agents: { certificate: true, forwarded: { from: [PROXY] }, known },
    top: { listen: { address: '127.0.0.1:0', tls } },
  });
  /** @returns the status and the error code */
  async function get(options: CallOptions, more: Record<string, string | string[]> = {}) {
    const headers = { authorization: gateway.authorization, ...more };
    const { status, text } = await call(`${gateway.app.url}/github`, { ca: authority.cert, ...options, headers });
    return [status, JSON.parse(text).code];
  }
  return { ...gateway, get, replaceCa: (text: string) => writerInto(folder)('clients.pem', text) };
}

const OK = [200, undefined];
const UNKNOWN = [401, 'ERR_AGENT_UNKNOWN'];

test('knows agents by the SPIFFE ID of their certificate, beside those with a token', async (t) => {
  const { get, billing, support } = await startMutual(t);
  assert.deepEqual(await get(withId(SUPPORT)), OK);
  assert.deepEqual(await get({}, { 'x-agent-token': billing }), OK);
  assert.deepEqual(await get(withId(BILLING_ID)), OK);
  assert.deepEqual(await get(withId(BILLING_ID), { 'x-agent-token': billing }), OK);
  for (const [name, options, headers] of [
    ['another trust domain', withId(SUPPORT.replace('example.org', 'example.com'))],
    ['not listed', withId(`${SUPPORT}/other`)],
    ['two URIs', authority.issueClient({ hosts: [SUPPORT, `${SUPPORT}/b`] })],
    ['no URI', authority.issueClient()],
    ['the proxy itself', withId(PROXY)],
    ['identities that disagree', withId(SUPPORT), { 'x-agent-token': billing }],
    ['an invalid token beside a valid certificate', withId(SUPPORT), { 'x-agent-token': 'malformed' }],
    ['an unknown token beside a valid certificate', withId(SUPPORT), { 'x-agent-token': support }],
  ] as const) {
    assert.deepEqual(await get(options, headers ?? {}), UNKNOWN, name);
  }
});

test('a route that names the agent to the server needs its token', async (t) => {
  const { get, billing, authorizationServer, app } = await startMutual(t, { actor_token: { from: 'agent' } });
  assert.deepEqual(await get(withId(SUPPORT)), UNKNOWN);
  assert.match(app.logText(), /the agent is known without a token: make it send its own token/);
  assert.equal(authorizationServer.requests.length, 0);
  assert.deepEqual(await get({}, { 'x-agent-token': billing }), OK);
});

test('believes a forwarded certificate only from a listed proxy', async (t) => {
  const { get, upstream, app } = await startMutual(t);
  const forwarded = (value: string | string[]) => ({ 'x-forwarded-client-cert': value });
  const clear = `By=spiffe://example.org/x;Hash=ab;Subject="CN=a, O=\\"b\\"";URI=${SUPPORT};DNS=a.example.org`;
  assert.deepEqual(await get(withId(PROXY), forwarded(clear)), OK);
  assert.deepEqual(await get(withId(SUPPORT), forwarded(`URI=${PROXY}`)), OK);
  assert.equal(upstream.requests.length, 2);
  for (const { headers } of upstream.requests) assert.equal(headers['x-forwarded-client-cert'], undefined);
  const dropped = 'x-forwarded-client-cert was dropped, because agents.forwarded.from does not list the client';
  for (const [options, why] of [
    [withId(`${PROXY}/other`), `agents.known has no spiffe_id \\"${PROXY}/other\\"`],
    [{}, 'it has neither a token of an agent nor a certificate with a SPIFFE ID'],
  ] as const) {
    assert.deepEqual(await get(options, forwarded(clear)), UNKNOWN);
    assert.ok(app.logText().includes(`the request is not of a known agent: ${why}; ${dropped}`), why);
  }
  for (const value of [[clear, clear], `URI=spiffe://example.com/a`, '']) {
    assert.deepEqual(await get(withId(PROXY), forwarded(value)), UNKNOWN, String(value));
  }
});

test('a certificate counts until it expires, and while its issuer is trusted', async (t) => {
  const skip = skippedTime(t);
  const { get, app, replaceCa } = await startMutual(t);
  const keptAlive = (options: CallOptions) => ({ ...options, agent: keepAlive(t, new Agent(ONE_CONNECTION)) });
  const brief = keptAlive(withId(SUPPORT, { validUntilSeconds: 300 }));
  assert.deepEqual(await get(brief), OK);
  skip(300_000);
  assert.deepEqual(await get(brief), UNKNOWN);
  const kept = keptAlive(withId(SUPPORT));
  assert.deepEqual(await get(kept), OK);
  const next = createCertificateAuthority('the next CA');
  replaceCa(next.cert + authority.cert);
  app.reopenFiles();
  assert.deepEqual(await get(kept), OK);
  replaceCa(next.cert);
  app.reopenFiles();
  await eventually('the connection is refused', async () => (await get(kept))[0] === 401);
});

test('refuses a WebSocket and a CONNECT without an agent', async (t) => {
  const { send, sendConnect, billing } = await start(t);
  const webSocket = { upgrade: 'websocket', connection: 'upgrade', 'sec-websocket-key': 'a'.repeat(22) };
  assertProblem(await send(undefined, webSocket), 'ERR_AGENT_UNKNOWN');
  const statusOf = async (token?: string) =>
    (await (await sendConnect('x.example.com:443', token)).closed()).slice(9, 12);
  assert.deepEqual([await statusOf(), await statusOf(billing)], ['401', '403']);
});

const INSIDE = { host: 'github.example.com' };

test('requests inside a CONNECT have its agent, whatever their own headers say', async (t) => {
  const gateway = await start(t, { route: { match: INSIDE, agents: ['billing'] } });
  const { sendConnect, billing, support, upstream } = gateway;
  for (const [outer, inner, status] of [
    [billing, support, 200],
    [support, billing, 403],
  ] as const) {
    const connection = await sendConnect(`${INSIDE.host}:80`, outer);
    const lines = [`Host: ${INSIDE.host}`, `X-Agent-Token: ${inner}`, 'Connection: close'];
    const text = await connection.ask(requestText(gateway, '/github', ...lines));
    assert.match(text, new RegExp(`HTTP/1.1 ${status} `));
  }
  assert.equal(upstream.requests.length, 1);
  assert.equal(upstream.requests[0]?.headers['x-agent-token'], undefined);
});

test('no copy of the token of a CONNECT goes upstream from inside of it', async (t) => {
  for (const credential of ['exchange', 'none', 'passthrough']) {
    const gateway = await start(t, { route: { match: INSIDE, credential } });
    const { billing, upstream } = gateway;
    const connection = await gateway.sendConnect(`${INSIDE.host}:80`, billing);
    const host = `Host: ${INSIDE.host}`;
    connection.send(requestText(gateway, '/', host, `X-Copy: token=${billing}`, `Cookie: agent=${billing}`));
    await connection.until('HTTP/1.1 200 OK');
    const text = await connection.ask(requestText(gateway, `/${billing}`, host, 'Connection: close'));
    assert.match(text, /HTTP\/1\.1 401 [\s\S]*ERR_SUBJECT_TOKEN_INVALID/, credential);
    const [{ headers = {} } = {}, ...others] = upstream.requests;
    assert.deepEqual([headers['x-copy'], headers.cookie, others.length], [undefined, undefined, 0], credential);
  }
});

test('tells the agents of pipelined requests apart', async (t) => {
  const gateway = await start(t, { route: { agents: ['billing'] } });
  const { app, billing, support } = gateway;
  const connection = await connectRaw(app.url);
  for (const token of [billing, support, billing, '']) {
    const own = token === '' ? [] : [`X-Agent-Token: ${token}`];
    connection.send(requestText(gateway, '/github', `Host: ${new URL(app.url).host}`, ...own));
  }
  // The last response closes the connection.
  const statuses = (await connection.closed()).match(/(?<=HTTP\/1\.1 )\d+/g);
  assert.deepEqual(statuses, ['200', '403', '200', '401']);
});

test("no spelling or copy of an agent's token goes upstream", async (t) => {
  for (const credential of ['exchange', 'none', 'passthrough']) {
    const { send, billing, support, upstream, authorization } = await start(t, { route: { credential } });
    const copies = {
      x_agent_token: support,
      'x-copy': `token=${billing}`,
      cookie: `agent=${encodeURIComponent(`Bearer ${billing}`)}`,
      'x-basic': `Basic ${Buffer.from(`agent:${billing}`).toString('base64')}`,
    };
    assert.equal((await send(billing, copies)).status, 200, credential);
    const sent = upstream.requests[0]?.headers ?? {};
    for (const name of ['x-agent-token', ...Object.keys(copies)]) assert.equal(sent[name], undefined, name);
    if (credential === 'passthrough') assert.equal(sent.authorization, authorization);
    assertProblem(await send(billing, { path: `/github?token=${billing}` }), 'ERR_SUBJECT_TOKEN_INVALID');
    for (const token of credential === 'none' ? [] : [billing, support]) {
      const asCaller = await send(billing, { authorization: `Bearer ${token}` });
      assertProblem(asCaller, 'ERR_SUBJECT_TOKEN_INVALID');
    }
    assert.equal(upstream.requests.length, 1);
  }
});

test('an agent that leaves while its token is verified leaves nothing behind', async (t) => {
  const { app, billing, cluster } = await start(t, { top: { limits: { max_connections: 2 } } });
  const { promise: until, resolve: release } = deferred<void>();
  cluster.metadataBehaviour = { kind: 'response', status: 500, until };
  for (const line of ['CONNECT other.example.com:443', 'GET /github', 'GET /github']) {
    const connection = await connectRaw(app.url);
    connection.send(`${line} HTTP/1.1\r\nHost: localhost\r\nX-Agent-Token: ${billing}\r\n\r\n`);
    await delay(100);
    connection.socket.destroy();
    await delay(100);
  }
  cluster.metadataBehaviour = { kind: 'document' };
  release();
  await app.metricBecomes('cambist_requests_in_flight', 0);
});

test('no session of an agent is resumed by another, or without a certificate', async (t) => {
  const gateway = await startMutual(t);
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    /** @returns the status, and what could resume the session */
    const visit = async (options: object) => {
      const port = Number(new URL(gateway.app.url).port);
      const socket = connectTls({ port, host: '127.0.0.1', ca: authority.cert, maxVersion, ...options });
      const sessions: unknown[] = [];
      socket.on('session', (session) => sessions.push(session));
      const secured = once(socket, 'secureConnect').then(() => socket.isSessionReused());
      socket.write(requestText(gateway, '/github', 'Host: localhost', 'Connection: close'));
      const status = (await text(socket)).slice(9, 12);
      assert.equal(await secured, false);
      return { status, session: sessions.at(-1) };
    };
    const { status, session } = await visit(withId(SUPPORT));
    assert.equal(status, '200');
    assert.ok(Buffer.isBuffer(session));
    assert.equal((await visit({ session })).status, '401');
    assert.equal((await visit({ ...withId(PROXY), session })).status, '401');
    assert.equal((await visit({ ...withId(SUPPORT), session })).status, '200');
  }
});
