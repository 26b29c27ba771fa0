import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startRawUpstream } from '../harness/fake-upstream.ts';
import { startGateway, startPlainGateway } from '../harness/gateway.ts';
import { assertProblem, call, connectRaw, sendRaw } from '../harness/http-call.ts';

test("sends the upstream's own Host and the issued token, and no override and no copy of the caller's token", async (t) => {
  const { upstream, authorizationServer, authorization, subjectToken, send } = await startGateway(t);
  const { status } = await send({
    host: 'other.localhost',
    'x-http-method-override': '/admin',
    x_original_url: '/admin',
    'x-forwarded-access-token': subjectToken,
    cookie: `a=1; token=${subjectToken}`,
    'x-original': authorization,
    'x-request-id': subjectToken,
    'x-kept': 'yes',
  });
  assert.equal(status, 200);
  const [received] = upstream.requests;
  assert.deepEqual(received?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  assert.deepEqual([received?.headers.host, received?.headers['x-kept']], [new URL(upstream.url).host, 'yes']);
  for (const text of [subjectToken, '/admin']) assert.ok(!JSON.stringify(received?.rawHeaders).includes(text), text);
});

test('sends the issued token even if the Connection header lists Authorization', async (t) => {
  const { upstream, authorizationServer, send } = await startGateway(t);
  const connection = 'close, authorization, content-length, x-drop';
  assert.equal((await send({ connection, 'x-drop': '1', 'content-length': '5' }, 'hello')).status, 200);
  const [received] = upstream.requests;
  assert.deepEqual(received?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  assert.equal(received?.headers['x-drop'], undefined);
  assert.equal((await received?.body())?.toString(), 'hello');
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
  const { upstream, authorizationServer, send } = await startGateway(t, { route: { credential: 'passthrough' } });
  for (const authorization of ['Bearer callers-own-token', 'Basic dXNlcjpwYXNz', 'Custom anything at all']) {
    await send({ authorization });
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

test('accepts a subject token in another header, and forwards neither header', async (t) => {
  const route = { subject_token: { header: 'x-user-token' } };
  const { upstream, authorizationServer, subjectToken, send } = await startGateway(t, { route });
  await send({ 'x-user-token': subjectToken, authorization: 'Bearer another-token' });
  const [exchange] = authorizationServer.requests;
  assert.equal(exchange?.form.get('subject_token'), subjectToken);
  const { headers, authorization } = upstream.requests[0] ?? assert.fail();
  assert.deepEqual([headers['x-user-token'], authorization], [undefined, [`Bearer ${exchange?.issued}`]]);
});

test("refuses the caller's token in the URL, also in percent-encoding, and does not log it", async (t) => {
  const { app, upstream, subjectToken, send } = await startGateway(t);
  const opaque = 'opaque+token/with=signs==';
  for (const [token, path] of [
    [subjectToken, `?access_token=${subjectToken}`],
    [subjectToken, `/${subjectToken}`],
    [opaque, `?t=${encodeURIComponent(opaque)}`],
    [opaque, `?t=${opaque.replace('o', '%6F')}`],
  ] as const) {
    assertProblem(
      await send({ authorization: `Bearer ${token}` }, undefined, `/github${path}`),
      'ERR_SUBJECT_TOKEN_INVALID',
    );
  }
  assert.equal(upstream.requests.length, 0);
  assert.ok(!app.logText().includes(subjectToken));
});

test("keeps the caller's request id if it is valid, and generates one otherwise", async (t) => {
  const { app, upstream } = await startPlainGateway(t);
  const generated = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
  for (const [headers, expected] of [
    [['X-Request-Id', 'trace-1:a.b_c'], /^trace-1:a\.b_c$/],
    [[], generated],
    [['X-Request-Id', '"},{"x":"'], generated],
    [['X-Request-Id', 'one', 'X-Request-Id', 'two'], generated],
  ] as const) {
    await call(`${app.url}/plain`, { headers });
    assert.match(String(upstream.requests.at(-1)?.headers['x-request-id']), expected);
  }
  assert.ok(app.logs.length > 0, 'each line of the log is JSON');
});

test('keeps header bytes outside ASCII, also before the first byte of the body', async (t) => {
  const upstream = await startRawUpstream(t, 'HTTP/1.1 200 OK\r\nX-Odd: \xc3\xa9 \xe9\r\n\r\n', 'keep');
  const { app } = await startPlainGateway(t, { route: { upstream: upstream.url } });
  const connection = await connectRaw(app.url);
  connection.send(Buffer.from('GET /plain HTTP/1.1\r\nHost: localhost\r\nX-Sent: \xc3\xa9 \xe9\r\n\r\n', 'latin1'));
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
        const response = await sendRaw(app.url, `${lines.join('\r\n')}\r\n\r\n`);
        assert.match(response, /^HTTP\/1\.1 40[13] /, lines.join(', '));
        assert.ok(!response.includes(token.slice(0, 20)), `${lines.join(', ')}: ${response}`);
      }
    }
  }
  assert.ok(!app.logText().includes(token.slice(0, 20)));
});
