import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { readRecords, recordsOf } from '../harness/audit-records.ts';
import { createCertificateAuthority, listenerTls } from '../harness/certificates.ts';
import { INTERACTION } from '../harness/consent.ts';
import { eventually } from '../harness/eventually.ts';
import {
  AS_DATA_PLANE,
  DECISION_SECRET,
  openHandle,
  startDecisionGateway,
  startGateway,
  startInboundGateway,
} from '../harness/gateway.ts';
import { type CallResponse, call, connectRaw } from '../harness/http-call.ts';
import { temporaryFolder, writerInto } from '../harness/lifetime.ts';

/** cambist as the decision service of a data plane. */
async function start(t: TestContext, options: Parameters<typeof startDecisionGateway>[2] = {}) {
  const gateway = await startDecisionGateway(t, 'http', options);
  const ask = (path: string, headers: Record<string, string> = {}, method = 'GET', body?: string) =>
    call(gateway.app.decisions ?? '', {
      path,
      method,
      headers: { ...AS_DATA_PLANE, authorization: gateway.authorization, ...headers },
      ...(body !== undefined && { body }),
    });
  return { ...gateway, ask };
}

/** The headers of the request that the data plane drops. */
const removedBy = ({ headers }: CallResponse) => String(headers['x-envoy-auth-headers-to-remove']).split(',');

/** A route to a backend that no test reaches. */
const unreached = (name: string, match: object, keys: object = {}) => {
  return { name, match, upstream: 'http://127.0.0.1:1/mcp', ...keys };
};

/** What each dialect sends for a GET of /github/x?a=1. */
const DIALECTS = {
  'ext-authz': { path: '/ext-authz/github/github/x?a=1', headers: {} },
  'forward-auth': {
    path: '/forward-auth/github',
    headers: { 'x-forwarded-method': 'GET', 'x-forwarded-uri': '/github/x?a=1', 'x-forwarded-host': 'mcp.example.com' },
  },
  'auth-request': {
    path: '/auth-request/github',
    headers: { 'x-original-method': 'GET', 'x-original-uri': '/github/x?a=1' },
  },
};

for (const [dialect, { path, headers }] of Object.entries(DIALECTS)) {
  test(`${dialect}: allows with the issued token, and refuses without a caller`, async (t) => {
    const { ask, authorizationServer, upstream } = await start(t);
    for (const _ of [1, 2]) {
      const allowed = await ask(path, headers);
      assert.equal(allowed.status, 200);
      assert.equal(allowed.headers.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
      assert.equal(allowed.headers['cache-control'], 'no-store');
      const removed = removedBy(allowed);
      assert.ok(!removed.includes('authorization'));
      for (const name of ['dpop', 'x-original-url', 'x_original_url', 'x-http-method-override']) {
        assert.ok(removed.includes(name), name);
      }
    }
    assert.equal(authorizationServer.requests.length, 1);
    const refused = await ask(path, { ...headers, authorization: '' });
    assert.equal(refused.status, 401);
    assert.match(String(refused.headers['www-authenticate']), /^Bearer /);
    assert.equal(refused.headers.authorization, undefined);
    if (dialect === 'auth-request') {
      assert.equal(refused.headers['x-cambist-error'], 'ERR_SUBJECT_TOKEN_MISSING');
    }
    assert.equal(upstream.requests.length, 0);
  });
}

test('the secret is required, and a client without it learns nothing', async (t) => {
  const { ask, app } = await start(t);
  for (const secret of ['', 'wrong', `${DECISION_SECRET}x`]) {
    const response = await ask('/ext-authz/github', { 'x-cambist-decision-secret': secret });
    assert.deepEqual([response.status, String(response.body), response.headers.authorization], [403, '', undefined]);
  }
  assert.match(app.logText(), /refused a decision/);
  assert.doesNotMatch(app.logText(), new RegExp(DECISION_SECRET));
});

/** Options of a gateway whose secret is in this file. */
const secretIn = (file: string) => ({ top: { decisions: { http: { listen: '127.0.0.1:0', secret: { file } } } } });

test('refuses every client while the file of the secret has only white space', async (t) => {
  const { file } = writerInto(temporaryFolder(t))('secret', ' \n');
  const { app, authorization } = await startGateway(t, secretIn(file));
  for (const secret of [{}, { 'x-cambist-decision-secret': '' }]) {
    const response = await call(`${app.decisions}/ext-authz/github`, { headers: { authorization, ...secret } });
    assert.equal(response.status, 403);
  }
});

test('is not ready until it has read the secret once', async (t) => {
  const file = join(temporaryFolder(t), 'secret');
  const { app } = await startGateway(t, secretIn(file));
  const secret = async () => (await app.readiness()).checks['decisions.http.secret'];
  await eventually('the attempt has failed', async () => (await secret()) === 'ERR_CREDENTIAL_UNAVAILABLE');
  writeFileSync(file, DECISION_SECRET);
  await eventually('cambist is ready', async () => (await app.readiness()).ready);
});

test('a decision by name is for that route alone', async (t) => {
  const { ask, authorizationServer } = await start(t, {
    moreRoutes: [
      unreached('by-tool', { path: '/tools', mcp_name: 'read' }),
      unreached('reads', { path: '/reads', methods: ['GET'] }),
      unreached('open', { path: '/open' }, { credential: 'none' }),
      unreached('raw', { path: '/raw' }, { credential: 'passthrough' }),
    ],
  });
  // The data plane chose the route, whatever the path is.
  for (const path of ['/docs/x', '/github/../docs', '', '?a=1']) {
    assert.equal((await ask(`/ext-authz/github${path}`)).status, 200, path);
  }
  assert.equal((await ask('/ext-authz/reads/reads')).status, 200);
  for (const [path, method] of [
    ['/ext-authz/unknown/github', 'GET'],
    ['/ext-authz/GITHUB/github', 'GET'],
    ['/ext-authz', 'GET'],
    ['/github', 'GET'],
    ['/ext-authz/by-tool/tools', 'POST'],
    ['/ext-authz/reads/reads', 'DELETE'],
    ['/ext-authz/github/github', 'TRACE'],
    ['/forward-auth/github', 'GET'],
  ] as const) {
    const response = await ask(path, {}, method);
    assert.deepEqual([response.status, response.headers.authorization], [403, undefined], path);
  }
  const open = await ask('/ext-authz/open/open');
  assert.deepEqual([open.status, open.headers.authorization], [200, undefined]);
  assert.ok(removedBy(open).includes('authorization'));
  const raw = await ask('/ext-authz/raw/raw');
  assert.equal(raw.headers.authorization, undefined);
  assert.ok(!removedBy(raw).includes('authorization'));
  assert.equal(authorizationServer.requests.length, 2);
});

for (const by of ['name', 'match']) {
  test(`refuses routes with dpop, interaction or consent_url, by ${by}`, async (t) => {
    const { ask, app, config, authorizationServer } = await start(t, { decisions: { routes_by: by } });
    const { local } = config.authorization_servers;
    const [route] = config.routes as Record<string, unknown>[];
    const path = by === 'name' ? '/ext-authz/github' : '/ext-authz/github/x';
    for (const [top, more, reason] of [
      [{ authorization_servers: { local: { ...local, dpop: true } } }, {}, 'bound to a key'],
      [{ interaction: INTERACTION }, {}, 'consent'],
      [{}, { consent_url: 'https://consent.example.com/start' }, 'consent'],
    ] as const) {
      app.reloadTo({ ...config, ...top, routes: [{ ...route, ...more }] });
      const { status, text, headers } = await ask(path);
      assert.deepEqual([status, headers.authorization], [403, undefined], text);
      const isLogged = () => app.logText().includes('no decision uses route') && app.logText().includes(reason);
      await eventually(reason, isLogged);
    }
    assert.equal(authorizationServer.requests.length, 0);
  });
}

test('by match, the reported host, path and message choose the route', async (t) => {
  const tools = (name: string) => ({ path: '/tools', mcp_method: 'tools/call', mcp_name: name });
  const { ask, authorizationServer } = await start(t, {
    decisions: { routes_by: 'match' },
    moreRoutes: [
      unreached('reads', tools('read'), { scope: 'read' }),
      unreached('writes', tools('write'), { scope: 'write' }),
    ],
  });
  const json = { 'content-type': 'application/json', 'mcp-method': 'tools/call' };
  const headers = (name: string) => ({ ...json, 'mcp-name': name });
  const call = (name: string) => JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name } });
  assert.equal((await ask('/ext-authz/github/x')).status, 200);
  assert.equal((await ask('/ext-authz/github/../tools')).status, 403);
  for (const name of ['read', 'write']) {
    assert.equal((await ask('/ext-authz/tools', headers(name), 'POST', call(name))).status, 200);
  }
  assert.deepEqual(authorizationServer.sent('scope'), [null, 'read', 'write']);
  const partial = { ...headers('read'), 'x-envoy-auth-partial-body': 'true' };
  assert.equal((await ask('/ext-authz/tools', partial, 'POST', call('read'))).status, 413);
  assert.equal((await ask('/ext-authz/tools', headers('write'), 'POST', call('read'))).status, 400);
  assert.equal((await ask('/ext-authz/tools', headers('read'), 'POST')).status, 403);
});

test('by match, a client cannot ask for the token of a route that the data plane does not use', async (t) => {
  const { ask, authorizationServer } = await start(t, {
    decisions: { routes_by: 'match' },
    top: { host_header: 'x-backend-host' },
    route: { scope: 'github' },
    moreRoutes: [
      unreached('rest', { path: '/' }, { scope: 'rest' }),
      unreached('other', { host: 'other.example.com' }, { scope: 'other' }),
    ],
  });
  assert.equal((await ask('/ext-authz/github', { 'x-backend-host': 'other.example.com' })).status, 200);
  assert.equal((await ask('/ext-authz/.well-known/oauth-protected-resource/github')).status, 200);
  assert.deepEqual(authorizationServer.sent('scope'), ['github', 'rest']);
});

test('refuses a token in the URL that the data plane forwards', async (t) => {
  const { ask, subjectToken } = await start(t);
  for (const path of [`/${subjectToken}`, `/x?a=${subjectToken}`]) {
    const response = await ask(`/ext-authz/github${path}`);
    assert.deepEqual([response.status, response.headers.authorization], [401, undefined]);
  }
});

test('removes every header with the handle of a caller', async (t) => {
  const http = { listen: `unix:${temporaryFolder(t)}/socket` };
  const gateway = await startInboundGateway(t, { top: { decisions: { http } } });
  const { handle, inBaggage } = await openHandle(t, gateway);
  const response = await call('http://localhost/ext-authz/github', {
    socketPath: http.listen.slice('unix:'.length),
    headers: { authorization: `Bearer ${handle}`, baggage: `a=b,cambist=${inBaggage}`, 'x-copy': handle, 'x-a': 'b' },
  });
  assert.equal(response.status, 200);
  const removed = ['baggage', 'x-copy', 'x-a'].filter((name) => removedBy(response).includes(name));
  assert.deepEqual(removed, ['baggage', 'x-copy']);
});

test('a data plane that leaves while the secret is read leaves no count behind', async (t) => {
  const { app } = await start(t);
  for (let count = 0; count < 20; count++) {
    const { send, socket } = await connectRaw(app.decisions ?? '');
    send(`GET /ext-authz/github HTTP/1.1\r\nHost: a\r\nX-Cambist-Decision-Secret: ${DECISION_SECRET}\r\n\r\n`);
    socket.resetAndDestroy();
  }
  await app.metricBecomes('cambist_requests_in_flight', 0);
});

test('removes copies of the token and other spellings of its headers', async (t) => {
  const { ask, subjectToken } = await start(t, { route: { send: { header: 'X-Api-Key' } } });
  const sent = { 'x-copy': `a ${subjectToken} b`, x_original_method: 'PUT', x_api_key: 'forged' };
  const response = await ask('/ext-authz/github/x', sent);
  const removed = removedBy(response);
  for (const name of ['authorization', ...Object.keys(sent)]) assert.ok(removed.includes(name), name);
  assert.ok(!removed.includes('x-api-key'));
  assert.equal(typeof response.headers['x-api-key'], 'string');
});

test('refuses a copy of the token where the data plane drops headers by name alone', async (t) => {
  const { ask, subjectToken } = await start(t);
  const report = Object.assign({}, ...Object.values(DIALECTS).map(({ headers }) => headers));
  for (const path of ['/forward-auth/github', '/auth-request/github']) {
    assert.equal((await ask(path, report)).status, 200);
    for (const copy of [{ 'x-copy': subjectToken }, { cookie: `a=${subjectToken}` }, { 'x_original-url': '/a' }]) {
      const response = await ask(path, { ...report, ...(copy as Record<string, string>) });
      assert.deepEqual([response.status, response.headers.authorization], [401, undefined]);
    }
  }
});

test('takes preflights only where the config allows them', async (t) => {
  const preflight = { origin: 'https://app.example.com', 'access-control-request-method': 'POST', authorization: '' };
  const refusing = await start(t);
  assert.equal((await refusing.ask('/ext-authz/github/x', preflight, 'OPTIONS')).status, 401);
  const { ask, authorization } = await start(t, { decisions: { preflights: 'allow' } });
  const allowed = await ask('/ext-authz/github/x', preflight, 'OPTIONS');
  assert.deepEqual([allowed.status, allowed.headers.authorization], [200, undefined]);
  assert.match(String(allowed.headers['x-request-id']), /^[\w-]{36}$/);
  for (const name of ['authorization', 'x_http_method_override']) assert.ok(removedBy(allowed).includes(name), name);
  const copies = { authorization, 'x-copy': authorization };
  const withToken = await ask('/ext-authz/github/x', { ...preflight, ...copies }, 'OPTIONS');
  assert.match(String(withToken.headers.authorization), /^Bearer /);
  assert.ok(removedBy(withToken).includes('x-copy'));
  assert.equal((await ask('/ext-authz/github/x', { authorization: '' }, 'OPTIONS')).status, 401);
  assert.equal((await ask('/ext-authz/github/x', { ...preflight }, 'POST')).status, 401);
});

test('auth-request has no statuses but 200, 401 and 403', async (t) => {
  const { ask, authorizationServer } = await start(t, { route: { unattended: 'none' } });
  const report = (method: string) => ({ 'x-original-method': method, 'x-original-uri': '/github' });
  authorizationServer.behaviour = { kind: 'response', status: 500 };
  const failed = await ask('/auth-request/github', report('POST'));
  const { 'x-cambist-error': code, 'x-cambist-status': status } = failed.headers;
  assert.deepEqual([failed.status, code, status], [403, 'ERR_STS_UNAVAILABLE', '503']);
  const stream = { ...report('GET'), authorization: '', accept: 'text/event-stream' };
  assert.equal((await ask('/auth-request/github', stream)).status, 403);
});

test('refuses a method that no server takes, and logs nothing of it', async (t) => {
  const { ask, app, subjectToken } = await start(t);
  for (const method of ['CONNECT', 'get', 'GET x', subjectToken]) {
    const report = { 'x-forwarded-method': method, 'x-forwarded-uri': '/' };
    assert.equal((await ask('/forward-auth/github', report)).status, 403);
  }
  await app.logged('request', 4);
  assert.ok(!app.logText().includes(subjectToken));
});

test('refuses web pages without a token by Origin and Sec-Fetch-Site, not by Host', async (t) => {
  const { ask } = await start(t, { route: { credential: 'client_credentials' } });
  const { path, headers } = DIALECTS['forward-auth'];
  for (const [more, status] of [
    [{}, 200],
    [{ origin: 'https://mcp.example.com' }, 403],
    [{ 'sec-fetch-site': 'cross-site' }, 403],
  ] as const) {
    assert.equal((await ask(path, { ...headers, ...more, authorization: '' })).status, status);
  }
});

test('counts, logs and records a decision as a forwarded request', async (t) => {
  const file = join(temporaryFolder(t), 'audit.jsonl');
  const { ask, app } = await start(t, { top: { audit: { to: { file } } } });
  await ask('/ext-authz/github/x');
  const recorded = () => recordsOf('request', readRecords(file));
  await eventually('the record', () => recorded().length === 1);
  const [record] = recorded();
  assert.deepEqual([record?.route, record?.decision, record?.status], ['github', 'forwarded', 200]);
  // `cambist tail` prints these.
  const { decisions } = JSON.parse((await call(`${app.admin}/decisions`)).text);
  assert.deepEqual([decisions.length, decisions[0].route, decisions[0].outcome], [1, 'github', 'forwarded']);
  assert.match(await app.metrics(), /cambist_arrivals_total\{route="github",way_in="decision"\} 1/);
  await app.logged('request');
  assert.match(app.logText(), /"route":"github","method":"GET","way_in":"decision","status":200,"outcome":"forwarded"/);
});

test('counts decisions by their results', async (t) => {
  const { ask, app, authorizationServer } = await start(t);
  await ask('/ext-authz/github/x');
  await ask('/ext-authz/github/x', { authorization: '' });
  await ask('/elsewhere');
  await ask('/ext-authz/github/x', { 'x-cambist-decision-secret': '' });
  authorizationServer.behaviour = { kind: 'response', status: 503 };
  await ask('/ext-authz/github/x', { authorization: `Bearer ${await authorizationServer.mint()}` });
  for (const [result, count] of Object.entries({ allowed: 1, refused: 2, failed: 1, cancelled: 0, denied: 1 })) {
    await app.metricBecomes('cambist_decisions_total', count, { protocol: 'http', result });
  }
  assert.match(await app.metrics(), /^cambist_decision_duration_seconds_count\{protocol="http"\} 4$/m);
});

test("the certificate of a data plane is not an agent's, and the one that it forwards is", async (t) => {
  const authority = createCertificateAuthority();
  const tls = listenerTls(temporaryFolder(t), authority);
  const [plane, agent] = ['spiffe://example.org/plane', 'spiffe://example.org/agent'];
  const listener = { address: '127.0.0.1:0', tls };
  const known = { one: { spiffe_id: agent }, plane: { spiffe_id: plane } };
  const agents = { certificate: true, forwarded: { from: [plane] }, known };
  const decisions = { http: { listen: listener }, preflights: 'allow' };
  const gateway = await startGateway(t, { top: { listen: listener, decisions, agents } });
  const client = { ca: authority.cert, ...authority.issueClient({ hosts: [plane] }) };
  const statusOf = async (more: Record<string, string>, method = 'GET') => {
    const headers = { authorization: gateway.authorization, ...more };
    return (await call(`${gateway.app.decisions}/ext-authz/github`, { ...client, method, headers })).status;
  };
  assert.equal(await statusOf({}), 401);
  assert.equal(await statusOf({ 'x-forwarded-client-cert': `URI=${agent}` }), 200);
  const preflight = { authorization: '', origin: 'https://app.example.com', 'access-control-request-method': 'POST' };
  assert.equal(await statusOf({ ...preflight, 'x-forwarded-client-cert': `URI=${agent}` }, 'OPTIONS'), 200);
  assert.match(gateway.app.logText(), /"agent":"one"/);
});

test('a secret that a reload removes stays required until the restart', async (t) => {
  const { app, ask, config } = await start(t);
  app.reloadTo({ ...config, decisions: { http: { listen: `unix:${temporaryFolder(t)}/s` } } });
  assert.equal((await ask('/ext-authz/github', { 'x-cambist-decision-secret': '' })).status, 403);
  assert.equal((await ask('/ext-authz/github')).status, 200);
});

test('keeps the connection of a data plane, with and without a secret', async (t) => {
  const { app } = await start(t);
  const socket = `unix:${temporaryFolder(t)}/s`;
  const { authorization } = await startGateway(t, { top: { decisions: { http: { listen: socket } } } });
  for (const url of [app.decisions, socket]) {
    const connection = await connectRaw(String(url));
    for (const [i, credential] of [authorization, '', authorization].entries()) {
      const headers = `x-cambist-decision-secret: ${DECISION_SECRET}\r\nauthorization: ${credential}\r\ncontent-length: 0`;
      connection.send(`POST /ext-authz/github HTTP/1.1\r\nhost: a\r\n${headers}\r\n\r\n`);
      await connection.until(new RegExp(`(?:HTTP/1.1[^]*){${i + 1}}\r\n\r\n`));
    }
    assert.doesNotMatch(connection.received(), /connection: close/i);
  }
});
