import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startTestApp } from '../harness/app.ts';
import { startRawUpstream } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw } from '../harness/http-call.ts';
import { words } from '../harness/words.ts';

function lines(raw: readonly string[] | undefined): string[] {
  const all: string[] = [];
  for (let i = 0; i < (raw?.length ?? 0); i += 2) all.push(`${raw?.[i]}: ${raw?.[i + 1]}`);
  return all;
}

test("sends one Authorization header with the issued token, and no copy of the caller's token", async (t) => {
  const { app, upstream, authorizationServer, authorization, subjectToken } = await startGateway(t);
  const { status } = await call(`${app.url}/github`, {
    headers: {
      authorization,
      'x-forwarded-access-token': subjectToken,
      cookie: `a=1; token=${subjectToken}`,
      'x-original': authorization,
      'x-request-id': subjectToken,
      'x-kept': 'yes',
    },
  });
  assert.equal(status, 200);
  const [received] = upstream.requests;
  assert.deepEqual(received?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  assert.equal(received?.headers['x-kept'], 'yes');
  assert.ok(!JSON.stringify(received?.rawHeaders).includes(subjectToken));
});

test('sends the issued token even if the Connection header lists Authorization', async (t) => {
  const { app, upstream, authorizationServer, authorization } = await startGateway(t);
  const headers = [
    'Authorization',
    authorization,
    'Connection',
    'close, authorization, content-length, x-drop',
    'X-Drop',
    '1',
  ];
  const { status } = await call(`${app.url}/github`, {
    method: 'POST',
    headers: [...headers, 'Content-Length', '5'],
    body: 'hello',
  });
  assert.equal(status, 200);
  const [received] = upstream.requests;
  assert.deepEqual(received?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  assert.equal(received?.headers['x-drop'], undefined);
  assert.equal((await received?.body())?.toString(), 'hello');
});

test('keeps the order, letter case and duplicates of other headers in both directions', async (t) => {
  const { app, upstream } = await startPlainGateway(t, {
    handler(_received, response) {
      response.writeHead(200, [
        'Mcp-Session-Id',
        's-1',
        'Set-Cookie',
        'a=1',
        'Set-Cookie',
        'b=2',
        'X-MIXED',
        'x',
        'Connection',
        'close, x-hop',
        'X-Hop',
        '1',
      ]);
      response.end();
    },
  });
  const sent = words('MCP-Protocol-Version 2025-11-25 Mcp-Method tools/call X-Tag a x-tag b TraceParent 00-1');
  const response = await call(`${app.url}/plain`, { headers: [...sent, 'Keep-Alive', 'timeout=5', 'TE', 'trailers'] });
  const received = lines(upstream.requests[0]?.rawHeaders);
  assert.deepEqual(
    received.filter((line) => lines(sent).includes(line)),
    lines(sent),
  );
  assert.ok(!received.some((line) => /^(te|keep-alive):/i.test(line)));
  const returned = lines(response.rawHeaders);
  const kept = ['Mcp-Session-Id: s-1', 'Set-Cookie: a=1', 'Set-Cookie: b=2', 'X-MIXED: x'];
  assert.deepEqual(
    returned.filter((line) => kept.includes(line)),
    kept,
  );
  assert.equal(response.headers['x-hop'], undefined);
});

test("sends the upstream's own name as Host", async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  await call(`${app.url}/plain`, { headers: { host: 'other.localhost', 'x-forwarded-host': 'kept' } });
  assert.equal(upstream.requests[0]?.headers.host, new URL(upstream.url).host);
  assert.equal(upstream.requests[0]?.headers['x-forwarded-host'], 'kept');
});

test('refuses two Authorization headers on every kind of route, and sends nothing upstream', async (t) => {
  const { app, upstream, authorization, config } = await startGateway(t);
  for (const credential of ['exchange', 'client_credentials', 'passthrough', 'none']) {
    app.reloadTo({ ...config, routes: config.routes.map((route) => ({ ...route, credential })) });
    const headers = ['Authorization', authorization, 'authorization', authorization];
    const response = await call(`${app.url}/github`, { headers });
    assertProblem(response, 'ERR_SUBJECT_TOKEN_INVALID');
    assert.equal(response.headers['www-authenticate'], 'Bearer error="invalid_token"');
  }
  assert.equal(upstream.requests.length, 0);
});

test("forwards the caller's own Authorization unchanged on a passthrough route", async (t) => {
  const { app, upstream, authorizationServer } = await startGateway(t, { route: { credential: 'passthrough' } });
  for (const authorization of ['Bearer callers-own-token', 'Basic dXNlcjpwYXNz', 'Custom anything at all']) {
    await call(`${app.url}/github`, { headers: { authorization } });
    assert.deepEqual(upstream.requests.at(-1)?.authorization, [authorization]);
  }
  assert.equal(authorizationServer.requests.length, 0);
});

test("sends no Authorization and no copy of the caller's token on a route without a credential", async (t) => {
  const { app, upstream } = await startPlainGateway(t, { route: { subject_token: { header: 'x-user-token' } } });
  await call(`${app.url}/plain`, {
    headers: {
      authorization: 'Bearer callers-own-token',
      'x-user-token': 'callers-other-token',
      'x-copy': 'callers-other-token',
      'x-request-id': 'callers-other-token',
    },
  });
  assert.deepEqual(upstream.requests[0]?.authorization, []);
  assert.doesNotMatch(JSON.stringify(upstream.requests[0]?.rawHeaders), /callers-o/);
  assert.doesNotMatch(app.logText(), /callers-o/);
});

test('accepts a subject token in another header, with or without "Bearer", and forwards neither header', async (t) => {
  const { app, upstream, authorizationServer, subjectToken } = await startGateway(t, {
    route: { subject_token: { header: 'x-user-token' } },
  });
  for (const value of [subjectToken, `Bearer ${subjectToken}`]) {
    const headers = { 'x-user-token': value, authorization: 'Bearer another-token' };
    assert.equal((await call(`${app.url}/github`, { headers })).status, 200);
    const received = upstream.requests.at(-1);
    assert.equal(received?.headers['x-user-token'], undefined);
    assert.deepEqual(received?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  }
  assert.equal(authorizationServer.requests[0]?.form.get('subject_token'), subjectToken);
});

test("refuses the caller's token in the URL, also in percent-encoding, and does not log it", async (t) => {
  const { app, upstream, subjectToken } = await startGateway(t);
  const opaque = 'opaque+token/with=signs==';
  for (const [token, path] of [
    [subjectToken, `?access_token=${subjectToken}`],
    [subjectToken, `/${subjectToken}`],
    [opaque, `?t=${encodeURIComponent(opaque)}`],
    [opaque, `?t=${opaque.replace('o', '%6F')}`],
  ] as const) {
    const response = await call(`${app.url}/github${path}`, { headers: { authorization: `Bearer ${token}` } });
    assertProblem(response, 'ERR_SUBJECT_TOKEN_INVALID');
  }
  assert.equal(upstream.requests.length, 0);
  assert.ok(!app.logText().includes(subjectToken));
});

test("keeps the caller's request id if it is valid, and generates one otherwise", async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const idFor = async (headers: readonly string[]) => {
    await call(`${app.url}/plain`, { headers });
    return String(upstream.requests.at(-1)?.headers['x-request-id']);
  };
  assert.equal(await idFor(['X-Request-Id', 'trace-1:a.b_c']), 'trace-1:a.b_c');
  const generated = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
  for (const headers of [
    [],
    ['X-Request-Id', ''],
    ...['a b', 'a"b', 'a\tb', '\xe4', '<x>', '{"a":1}', '"},{"x":"', 'a,b'].map((id) => ['X-Request-Id', id]),
    ['X-Request-Id', 'x'.repeat(65)],
    ['X-Request-Id', 'one', 'X-Request-Id', 'two'],
    ...['callers-own-token', 'id:callers-own-token', 'callers-own-token.1'].map((id) => {
      return ['X-Request-Id', id, 'Authorization', 'Bearer callers-own-token'];
    }),
  ]) {
    assert.match(await idFor(headers), generated, JSON.stringify(headers).slice(0, 60));
  }
  assert.ok(app.logs.length > 0, 'each line of the log is JSON');
});

test('keeps header bytes outside ASCII, also before the first byte of the body', async (t) => {
  const upstream = await startRawUpstream(t, 'HTTP/1.1 200 OK\r\nX-Odd: \xc3\xa9 \xe9\r\n\r\n', 'keep');
  const routes = [{ name: 'raw', match: { path: '/' }, upstream: upstream.url, credential: 'none' }];
  const app = await startTestApp(t, { routes });
  const connection = await connectRaw(app.url);
  connection.send(Buffer.from('GET / HTTP/1.1\r\nHost: localhost\r\nX-Sent: \xc3\xa9 \xe9\r\n\r\n', 'latin1'));
  assert.match(await connection.until('\r\n\r\n'), /\r\nX-Odd: \xc3\xa9 \xe9\r\n/);
  assert.match(upstream.received[0] ?? '', /\r\nX-Sent: \xc3\xa9 \xe9\r\n/);
  connection.socket.destroy();
});

test('neither logs nor echoes a token that is repeated as an id, even if the request is refused early', async (t) => {
  const token = '0af7651916cd43dd8448eb211c80319c';
  const { app } = await startGateway(t, { route: { subject_token: { header: 'x-user-token' } } });
  const credentials = [
    ['X-User-Token', token],
    ['Authorization', `Bearer ${token}`],
    ['Cookie', `session=${token}`],
    ['X-Api-Key', token],
  ];
  const ids = [
    ['X-Request-Id', token],
    ['X-Request-Id', token.slice(0, 20)],
    ['traceparent', `00-${token}-b7ad6b7169203331-01`],
  ];
  const refused = [
    ['GET', '/no-route'],
    ['TRACE', '/github'],
    ['GET', `/github/${token}`],
    ['GET', '/github/../x'],
    ['GET', '/.well-known/oauth-protected-resource/github'],
    ['CONNECT', 'no-route.example.com:443'],
  ];
  for (const credential of credentials) {
    for (const id of ids) {
      for (const [method, path] of refused) {
        const lines = [`${method} ${path} HTTP/1.1`, 'Host: localhost', 'Connection: close'];
        for (const [name, value] of [id, credential]) lines.push(`${name}: ${value}`);
        const connection = await connectRaw(app.url);
        connection.send(`${lines.join('\r\n')}\r\n\r\n`);
        const response = await connection.closed();
        assert.match(response, /^HTTP\/1\.1 40[13] /, lines.join(', '));
        assert.ok(!response.includes(token.slice(0, 20)), `${lines.join(', ')}: ${response}`);
      }
    }
  }
  assert.ok(!app.logText().includes(token.slice(0, 20)));
});

test('drops headers that change the method or path of a request at the backend', async (t) => {
  const { app, upstream } = await startPlainGateway(t, { route: { match: { path: '/plain', methods: ['GET'] } } });
  const overrides = words(`
    X-HTTP-Method-Override X-HTTP-Method X-Method-Override X-Original-Method X-Original-URL X-Original-URI X-Rewrite-URL
    X_HTTP_Method_Override
  `);
  const headers = overrides.flatMap((name) => [name, '/admin']);
  const { status } = await call(`${app.url}/plain`, { headers: [...headers, 'X-Forwarded-Prefix', '/kept'] });
  assert.equal(status, 200);
  const names = Object.keys(upstream.requests[0]?.headers ?? {});
  assert.deepEqual(
    names.filter((name) => /method|url|uri/.test(name)),
    [],
  );
  assert.equal(upstream.requests[0]?.headers['x-forwarded-prefix'], '/kept');
});
