import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent } from 'node:http';
import { after, before, beforeEach, suite, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { SDK_V1, SDK_V2_NEGOTIATED } from '../../harness/agent-client.ts';
import { type RunningApp, routeTo, type WrittenConfig } from '../../harness/app.ts';
import { eventually } from '../../harness/eventually.ts';
import { type FakeAuthorizationServer, startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { echo, eventStream, type FakeUpstream, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { clientOf } from '../../harness/gateway.ts';
import { type CallOptions, call, connectRaw, open } from '../../harness/http-call.ts';
import { freePort } from '../../harness/http-server.ts';
import { keepParts, temporaryFolder } from '../../harness/lifetime.ts';
import { type McpBackend, startMcpBackend } from '../../harness/mcp-fixture/server.ts';
import { startWebSocketServer, type WebSocketServer } from '../../harness/web-socket-server.ts';
import { type By, type DataPlane, decisionListener, listenerOf, restartable, startDataPlane } from './data-plane.ts';
import { printedConfig } from './planes.ts';

/** A data plane as its snippet configures it, with cambist and everything behind it. */
function setUp(plane: DataPlane, isByMatch: boolean, by: By) {
  const parts = keepParts();
  const cambist = restartable();
  const state = {} as {
    authorizationServer: FakeAuthorizationServer;
    github: FakeUpstream;
    docs: FakeUpstream;
    sockets: WebSocketServer;
    tools: McpBackend;
    config: WrittenConfig;
    app: RunningApp;
    url: string;
  };
  const tokens: string[] = [];

  async function startCambist(): Promise<void> {
    state.app = await cambist.start(state.config);
  }

  before(async () => {
    state.authorizationServer = await startFakeAuthorizationServer(parts);
    state.github = await startFakeUpstream(parts, echo);
    state.docs = await startFakeUpstream(parts, echo);
    state.sockets = await startWebSocketServer(parts);
    const { issuer, jwksUri } = state.authorizationServer;
    state.tools = await startMcpBackend(parts, { issuer, jwksUri, name: 'tools' });
    const listener = await decisionListener(temporaryFolder(parts), plane.asksSockets && !isByMatch);
    state.config = {
      listen: `127.0.0.1:${await freePort()}`,
      authorization_servers: { local: { ...clientOf(state.authorizationServer), issuer } },
      decisions: {
        [listenerOf(by)]: listener,
        ...(isByMatch && { routes_by: 'match', preflights: 'allow' }),
      },
      routes: [
        routeTo('github', `${state.github.url}/mcp`),
        routeTo('docs', `${state.docs.url}/docs-mcp`),
        routeTo('keyed', `${state.docs.url}/keyed`, { send: { header: 'X-Api-Key' } }),
        routeTo('open', `${state.docs.url}/open`, { credential: 'none' }),
        routeTo('sockets', `${state.sockets.url}/mcp`),
        routeTo('tools', state.tools.url),
      ],
    };
    await startCambist();
    state.url = await startDataPlane(parts, plane, printedConfig(plane, state.config, by));
  });
  after(async () => {
    await cambist.stop();
    await parts.close();
  });
  beforeEach(() => {
    state.authorizationServer.requests.length = 0;
    state.github.requests.length = 0;
    state.docs.requests.length = 0;
  });

  return Object.assign(state, {
    async token(subject = 'alice'): Promise<string> {
      const token = await state.authorizationServer.mint({ subject });
      tokens.push(token);
      return token;
    },
    send: (path: string, token: string | undefined, { headers = {}, ...options }: CallOptions = {}) =>
      call(state.url, {
        path,
        headers: { ...(token !== undefined && { authorization: `Bearer ${token}` }), ...headers },
        ...options,
      }),
    restart: startCambist,
    stop: cambist.stop,
    /** No backend got a caller's token, or a token for another backend. */
    assertNothingLeaked(): void {
      for (const [backend, audience] of [
        [state.github, `${state.github.url}/mcp`],
        [state.docs, state.docs.url],
      ] as const) {
        for (const { rawHeaders, authorization, url } of backend.requests) {
          for (const token of tokens) assert.ok(!rawHeaders.join('\n').includes(token), `${url} got a caller's token`);
          for (const value of authorization) {
            const { aud } = decodeJwt(value.replace('Bearer ', ''));
            assert.ok(String(aud).startsWith(audience), `${url} got a token for ${aud}`);
          }
        }
      }
    },
  });
}

type Setup = ReturnType<typeof setUp>;

/** The tests of every data plane. */
export function testDataPlane(plane: DataPlane, by: By = 'http'): void {
  suite(`${plane.kind} by ${by}`, () => {
    const setup = setUp(plane, false, by);
    testDecisions(setup, plane);
    testTraffic(setup, plane, by);
    testBodies(setup, plane);
    testChanges(setup, plane);
  });
  suite(`${plane.kind} by ${by}, which asks over TCP, with routes by match`, () => {
    testDecisions(setUp(plane, true, by), plane);
  });
}

/** Which requests pass, and with which token. */
function testDecisions(s: Setup, plane: DataPlane): void {
  test('replaces the token of the caller, cold and cached', async () => {
    const token = await s.token();
    const forged = {
      dpop: token,
      'x-original-url': '/admin',
      'x-http-method-override': 'DELETE',
      'x-forwarded-host': 'evil.example.com',
      'x-forwarded-uri': '/docs',
      'x-original-uri': '/docs',
      'x-original-method': 'DELETE',
      'x-cambist-decision-secret': 'forged',
      'x-kept': 'yes',
      forwarded: 'host=evil.example.com',
      // Others refuse a copy, because they cannot drop it.
      ...(plane.kind === 'envoy' && { 'x-copy': `a ${token} b` }),
    };
    for (const [path, wanted] of [
      ['/github/x?a=1', '/mcp/x?a=1'],
      ['/github', '/mcp'],
      ['/github/', '/mcp/'],
      ['/github?b=2', '/mcp?b=2'],
    ] as const) {
      const response = await s.send(path, token, { method: 'POST', body: 'hello', headers: forged });
      assert.equal(response.status, 200, response.text);
      const { method, url, body } = JSON.parse(response.text);
      assert.deepEqual([method, url, body], ['POST', wanted, 'hello']);
      const { headers, authorization } = s.github.requests.at(-1) ?? assert.fail();
      assert.deepEqual(authorization, [`Bearer ${s.authorizationServer.requests[0]?.issued}`]);
      for (const name of ['dpop', 'x-original-url', 'x-http-method-override', 'x-original-uri', 'x-original-method']) {
        assert.equal(headers[name], undefined, name);
      }
      if (plane.kind === 'envoy') assert.equal(headers['x-copy'] ?? headers['x-cambist-decision-secret'], undefined);
      assert.deepEqual([headers.host, headers['x-kept']], [new URL(s.github.url).host, 'yes']);
      assert.doesNotMatch(JSON.stringify(headers), /evil/);
      assert.notEqual(headers['x-forwarded-uri'], '/docs');
    }
    assert.equal(s.authorizationServer.requests.length, 1);
    s.assertNothingLeaked();
  });

  test('refuses a request without a token, and names the metadata that leads to one', async () => {
    const response = await s.send('/github', undefined, { method: 'POST', body: '{}' });
    assert.equal(response.status, 401);
    assert.match(response.text, /ERR_SUBJECT_TOKEN_MISSING/);
    const [, metadata] = /resource_metadata="([^"]*)"/.exec(String(response.headers['www-authenticate'])) ?? [];
    assert.equal(metadata, `${s.url}/.well-known/oauth-protected-resource/github`);
    const described = await call(metadata ?? '');
    assert.equal(described.status, 200, described.text);
    const { resource, authorization_servers: servers } = JSON.parse(described.text);
    assert.deepEqual([resource, servers], [`${s.url}/github`, [s.authorizationServer.issuer]]);
    // Nothing else of `listen` is there.
    for (const path of ['/../../github', 'x', '/../../admin']) {
      const { status } = await s.send(`/.well-known/oauth-protected-resource${path}`, undefined);
      assert.ok([400, 401, 403, 404].includes(status), `${status} ${path}`);
    }
    assert.equal(s.github.requests.length, 0);
  });

  test('lets nothing pass while cambist is stopped, and everything after its return', async () => {
    const token = await s.token();
    await s.stop();
    for (const path of ['/github', '/github/x', '/open', '/keyed']) {
      assert.equal((await s.send(path, token)).status, plane.downStatus, path);
    }
    assert.equal(s.github.requests.length + s.docs.requests.length, 0);
    await s.restart();
    // Data planes may remember for a moment that cambist was away.
    await eventually('requests pass', async () => (await s.send('/github', token)).status === 200);
    s.assertNothingLeaked();
  });

  test('sends no token to another backend than its own, however the path is written', async () => {
    const token = await s.token();
    for (const path of [
      '/github/../docs/x',
      '/docs/../github/x',
      '/github/%2e%2e/docs/x',
      '/github/..%2fdocs/x',
      '/github%2f..%2fdocs',
      '/github/..;/docs',
      '/github/.%2e\\docs',
      '/%67ithub/x',
      '//docs/x',
      '/docs//../github',
      '/githubx',
      '/GITHUB',
      '/github%00',
      '/github/a%0d%0aX-A:%20b',
      '/github/a%2fb',
      '/.cambist',
      '/',
    ]) {
      await s.send(path, token);
      await s.send(path, token, { headers: { 'x-original-uri': '/docs', 'x-forwarded-uri': '/docs' } });
    }
    for (const { url, headers } of [...s.github.requests, ...s.docs.requests]) {
      assert.equal(headers['x-a'], undefined, url);
      assert.match(url, /^\/(mcp|docs-mcp)(?![^/?])/);
      assert.doesNotMatch(url, /(^|[/\\])\.\.([/\\?]|$)/);
    }
    s.assertNothingLeaked();
  });

  test('lets a preflight pass only where the config says so, and without a credential', async () => {
    const isAllowed = 'preflights' in (s.config.decisions as object);
    const asked = { origin: 'https://app.example.com', 'access-control-request-method': 'POST' };
    for (const [headers, allowed] of [
      [asked, isAllowed],
      [{ ...asked, authorization: 'Basic YWxpY2U6YSBwYXNzd29yZA==' }, false],
      [{ origin: asked.origin }, false],
    ] as const) {
      const { status } = await s.send('/github', undefined, { method: 'OPTIONS', headers });
      assert.equal(status === 200, allowed, `${status} ${JSON.stringify(headers)}`);
    }
    assert.ok(s.github.requests.every(({ authorization }) => authorization.length === 0));
  });

  test('takes no word of the client for its own', async () => {
    const token = await s.token();
    for (const headers of [
      { authorization: 'Basic x' },
      { connection: 'close, authorization, x-original-uri, x-forwarded-uri, x-forwarded-method, x-original-method' },
      {
        'x-original-uri': '/docs',
        'x-original-method': 'GET',
        'x-forwarded-method': 'GET',
        'x-forwarded-uri': '/docs',
        'x-envoy-original-path': '/docs',
      },
      { x_original_uri: '/docs', X_FORWARDED_URI: '/docs', x_authorization: 'a' },
      { 'x-cambist-route': 'docs', 'x-cambist-error': 'none', 'x-envoy-auth-headers-to-remove': 'host' },
      { 'content-length': '0' },
      { expect: '100-continue' },
    ]) {
      const { status } = await s.send('/github/x', token, { method: 'POST', headers });
      assert.ok([200, 400, 401, 403].includes(status), String(status));
    }
    assert.equal(s.docs.requests.length, 0);
    for (const { headers } of s.github.requests) assert.equal(headers.x_original_uri, undefined);
    s.assertNothingLeaked();
  });
}

/** All kinds of requests and responses. */
function testTraffic(s: Setup, plane: DataPlane, by: By): void {
  test('sends a credential in the header of its route, and none where the route has none', async () => {
    const token = await s.token();
    assert.equal((await s.send('/keyed', token, { headers: { 'x-api-key': 'forged' } })).status, 200);
    const keyed = s.docs.requests.at(-1);
    assert.equal(keyed?.headers['x-api-key'], s.authorizationServer.requests[0]?.issued);
    assert.equal(keyed?.headers.authorization, undefined);
    assert.equal((await s.send('/open', token)).status, 200);
    assert.equal(s.docs.requests.at(-1)?.headers.authorization, undefined);
    s.assertNothingLeaked();
  });

  test('refuses what the authorization server refuses, with the reason', async () => {
    s.authorizationServer.queue.push({ kind: 'response', status: 400, body: { error: 'invalid_target' } });
    const response = await s.send('/github', await s.token());
    assert.equal(response.status, 403);
    assert.match(response.text, /ERR_EXCHANGE_REFUSED/);
    assert.equal(s.github.requests.length, 0);
  });

  test('waits for a slow authorization server', async () => {
    s.authorizationServer.queue.push({ kind: 'issue', delayMs: 1500 });
    assert.equal((await s.send('/github', await s.token())).status, 200);
    s.assertNothingLeaked();
  });

  test('lets nothing pass while the authorization server is down, and says that it may pass later', async () => {
    s.authorizationServer.behaviour = { kind: 'response', status: 503 };
    const response = await s.send('/github', await s.token());
    s.authorizationServer.behaviour = { kind: 'issue' };
    assert.equal(response.status, 503);
    assert.equal(s.github.requests.length, 0);
    // Over HTTP, Envoy takes every 5xx for a fault of cambist, and drops its body.
    if (plane.kind === 'envoy' && by === 'http') return;
    assert.match(response.text, /ERR_STS_UNAVAILABLE/);
    assert.ok(Number(response.headers['retry-after']) >= 1);
  });

  test('refuses two values of Authorization', async () => {
    const [one, other] = [await s.token(), await s.token('bob')];
    for (const values of [[one, other], [one, one], [`${one},Bearer ${other}`], ['', one, other]]) {
      const headers = values.flatMap((value, at) => [at === 0 ? 'Authorization' : 'authorization', `Bearer ${value}`]);
      const { status } = await call(`${s.url}/github`, { headers });
      assert.ok(status >= 400 && status < 500, String(status));
    }
    assert.equal(s.github.requests.length, 0);
  });

  test('keeps two callers on one connection apart', async (t) => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    t.after(() => agent.destroy());
    const callers = { alice: await s.token('alice'), bob: await s.token('bob') };
    for (const name of ['alice', 'bob', 'alice', 'bob'] as const) {
      assert.equal((await s.send('/github', callers[name], { agent })).status, 200);
      const [value = ''] = s.github.requests.at(-1)?.authorization ?? [];
      assert.equal(decodeJwt(value.replace('Bearer ', '')).sub, name);
      // A request without a token does not get that of an earlier caller.
      assert.equal((await s.send('/github', undefined, { agent })).status, 401);
    }
    assert.equal(s.github.requests.length, 4);
    s.assertNothingLeaked();
  });

  test('lets an event stream and a WebSocket pass', async (t) => {
    const token = await s.token();
    const events = eventStream();
    s.github.handler = events.handler;
    const stream = await open(`${s.url}/github`, { headers: { authorization: `Bearer ${token}` } });
    s.github.handler = echo;
    for (const event of ['one', 'two']) {
      events.emit(event);
      const [received] = await once(stream, 'data');
      assert.equal(String(received), `data: ${event}\n\n`);
    }
    stream.destroy();
    await events.gone;
    for (const [credential, status] of [
      ['', 401],
      [token, 101],
    ] as const) {
      const socket = await connectRaw(s.url);
      t.after(() => socket.socket.destroy());
      const lines = ['GET /sockets HTTP/1.1', 'Host: h', 'Connection: Upgrade', 'Upgrade: websocket'];
      const keys = ['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='];
      socket.send([...lines, ...keys, `Authorization: Bearer ${credential}`, '', ''].join('\r\n'));
      assert.match(await socket.until('\r\n\r\n'), new RegExp(` ${status} `));
    }
    const [value = ''] = s.sockets.handshakes.at(-1)?.authorization?.split('Bearer ').slice(1) ?? [];
    assert.equal(decodeJwt(value).aud, `${s.sockets.url}/mcp`);
    s.assertNothingLeaked();
  });

  test('passes an issued token of 12 KiB', async () => {
    s.authorizationServer.queue.push({ kind: 'issue', claims: { groups: 'g'.repeat(9000) } });
    assert.equal((await s.send('/github', await s.token())).status, 200);
    s.assertNothingLeaked();
  });

  for (const sdk of [SDK_V1, SDK_V2_NEGOTIATED]) {
    test(`${sdk.name}: lists and calls a tool, and shows why it is refused`, async () => {
      const client = await sdk.connect(`${s.url}/tools`, await s.token());
      assert.ok((await client.listTools()).includes('whoami'));
      assert.match(await client.call('whoami'), /"sub":"alice"/);
      await client.close();
      s.authorizationServer.queue.push({ kind: 'response', status: 400, body: { error: 'invalid_target' } });
      // Version negotiation of the SDK 2.x shows the status alone.
      await assert.rejects(
        sdk.connect(`${s.url}/tools`, await s.token('mallory')),
        sdk === SDK_V1 ? /ERR_EXCHANGE_REFUSED/ : /403/,
      );
    });
  }
}

/** Valid in no encoding but that of bytes. */
const BYTES = Buffer.from(Array.from({ length: 2 ** 20 }, (_, i) => i % 256));

/** Bodies of all kinds. */
function testBodies(s: Setup, plane: DataPlane): void {
  for (const framing of ['with a length', 'in chunks']) {
    test(`passes every byte of a body ${framing}`, async () => {
      const length = { 'content-length': String(BYTES.length) };
      const headers = framing === 'in chunks' ? { 'transfer-encoding': 'chunked' } : length;
      const response = await s.send('/github', await s.token(), { method: 'POST', body: BYTES, headers });
      assert.equal(response.status, 200, response.text);
      assert.ok(BYTES.equals((await s.github.requests.at(-1)?.body()) ?? assert.fail()));
      s.assertNothingLeaked();
    });
  }

  const limit = plane.bodyLimit;
  if (limit === undefined) return;
  test('refuses a body above its limit, and passes one at the limit', async () => {
    const token = await s.token();
    for (const [length, status] of [
      [limit, 200],
      [limit + 1, 413],
    ] as const) {
      const headers = { 'content-length': String(length) };
      const response = await s.send('/github', token, { method: 'POST', body: Buffer.alloc(length, 'x'), headers });
      assert.equal(response.status, status);
    }
    assert.equal(s.github.requests.length, 1);
  });
}

const CALLERS = 20;

/** Changes of cambist while clients call. */
function testChanges(s: Setup, plane: DataPlane): void {
  /** Clients that call as fast as they get responses. @returns how often they got each status */
  async function callMeanwhile(change: () => Promise<void>): Promise<Map<number, number>> {
    const tokens = await Promise.all(['alice', 'bob'].map(s.token));
    const statuses = new Map<number, number>();
    let isOver = false;
    const callers = Array.from({ length: CALLERS }, async (_, i) => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      while (!isOver) {
        const { status } = await s.send('/github', tokens[i % 2], { agent, method: 'POST', body: '{}' });
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
      agent.destroy();
    });
    const calling = Promise.all(callers);
    const called = (status: number, times: number) =>
      eventually(`${times} times ${status}`, () => (statuses.get(status) ?? 0) >= times);
    await called(200, CALLERS);
    await change();
    const passed = statuses.get(200) ?? 0;
    await called(200, passed + CALLERS);
    isOver = true;
    await calling;
    assert.ok(s.github.requests.every(({ authorization }) => authorization.length === 1));
    s.assertNothingLeaked();
    return statuses;
  }

  test('fails no request while routes change', async () => {
    const { routes } = s.config as { routes: readonly Record<string, unknown>[] };
    const more = routeTo('more', `${s.docs.url}/more`);
    const statuses = await callMeanwhile(async () => {
      for (let i = 0; i < 10; i += 1) {
        const scope = i % 2 === 0 ? 'read' : undefined;
        const changed = routes.map((route) => (route.name === 'github' && scope ? { ...route, scope } : route));
        s.app.reloadTo({ ...s.config, routes: i % 2 === 0 ? [more, ...changed] : changed });
        await delay(50);
      }
    });
    assert.deepEqual([...statuses.keys()], [200]);
  });

  test('lets no request pass without a decision while cambist restarts', async () => {
    const statuses = await callMeanwhile(async () => {
      await s.stop();
      await delay(200);
      await s.restart();
    });
    assert.ok([...statuses.keys()].every((status) => status === 200 || status >= 500));
    assert.ok(statuses.has(plane.downStatus));
  });
}
