import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ProxyAgent, request } from 'undici';
import { startTestApp } from '../harness/app.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { type GatewayOptions, startGateway } from '../harness/gateway.ts';
import { connectRaw } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { echo } from '../harness/upstream-handlers.ts';

/** A gateway whose route goes by a host, as an agent with HTTP_PROXY would name it. */
function startNamed(t: TestContext, options: GatewayOptions = {}) {
  return startGateway(t, { ...options, route: { match: { host: 'github-mcp.svc', path: '/mcp' }, ...options.route } });
}

const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';

test('HTTP is served inside a CONNECT to the host of a route, each request by its own Host', async (t) => {
  const { app, authorization, upstream, authorizationServer } = await startNamed(t, {
    moreRoutes: [{ name: 'docs', match: { host: 'docs.svc' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  const connection = await connectRaw(app.url);
  connection.send('CONNECT GitHub-MCP.svc.:8080 HTTP/1.1\r\nHost: github-mcp.svc:8080\r\n\r\n');
  await connection.until(ESTABLISHED);
  for (const path of ['/mcp/a', '/mcp/b']) {
    connection.send(`GET ${path} HTTP/1.1\r\nHost: github-mcp.svc\r\nAuthorization: ${authorization}\r\n\r\n`);
    await soon('the answer', connection.until(`"url":"${path}"`));
  }
  assert.deepEqual(
    upstream.requests.map(({ authorization: [bearer] }) => bearer),
    Array(2).fill(`Bearer ${authorizationServer.requests[0]?.issued}`),
  );
  connection.send('GET / HTTP/1.1\r\nHost: docs.svc\r\n\r\n');
  await soon('the other route', connection.until('ERR_UPSTREAM_UNREACHABLE'));
  connection.send('GET / HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n');
  assert.match(await soon('no route', connection.closed()), /ERR_ROUTE_NOT_FOUND/);
});

test('bytes that come with the CONNECT are the first request inside', async (t) => {
  const { app, authorization } = await startNamed(t);
  const connection = await connectRaw(app.url);
  const inner = `POST /mcp HTTP/1.1\r\nHost: github-mcp.svc\r\nAuthorization: ${authorization}\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello`;
  connection.send(`CONNECT github-mcp.svc:80 HTTP/1.1\r\nHost: x\r\n\r\n${inner}`);
  const all = await soon('the answer', connection.closed());
  assert.ok(all.startsWith(ESTABLISHED));
  assert.match(all, /"body":"hello"/);
});

test('large bodies and slow writers pass inside as they do outside', async (t) => {
  const { app, authorization, upstream } = await startNamed(t, {
    handler: async (request, response) => {
      const body = await request.body();
      response.end(body);
    },
  });
  const connection = await connectRaw(app.url);
  connection.send('CONNECT github-mcp.svc:80 HTTP/1.1\r\n\r\n');
  await connection.until(ESTABLISHED);
  const size = 3_000_000;
  connection.send(`POST /mcp HTTP/1.1\r\nHost: github-mcp.svc\r\nAuthorization: ${authorization}\r\n`);
  connection.send(`Content-Length: ${size}\r\nConnection: close\r\n\r\n`);
  for (let sent = 0; sent < size; sent += 100_000) connection.send(Buffer.alloc(100_000, 'x'));
  const all = await soon('the answer', connection.closed());
  assert.equal(all.length - all.lastIndexOf('\r\n\r\n') > size, true);
  assert.equal((await upstream.requests[0]?.body())?.length, size);
});

for (const [form, proxyTunnel] of [
  ['in absolute form', false],
  ['by CONNECT even to http', true],
] as const) {
  test(`an undici client reaches the route by its proxy agent, ${form}`, async (t) => {
    const { app, authorization } = await startNamed(t);
    const dispatcher = new ProxyAgent({ uri: app.url, proxyTunnel });
    t.after(() => dispatcher.close());
    const { statusCode, body } = await request('http://github-mcp.svc/mcp/x?y', {
      dispatcher,
      headers: { authorization },
    });
    assert.equal(statusCode, 200);
    assert.equal(((await body.json()) as { url: string }).url, '/mcp/x?y');
  });
}

test('CONNECT to anything else is refused with 403, counted and logged, and the connection ends', async (t) => {
  const { app, upstream } = await startNamed(t, {
    moreRoutes: [{ name: 'any', match: { path: '/' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  const far = new URL(upstream.url).host;
  let refused = 0;
  for (const target of [
    'elsewhere.example.com:443',
    far,
    'github-mcp.svc',
    'x.github-mcp.svc:80',
    '/mcp',
    'user@github-mcp.svc:80',
    'github-mcp.svc:80:80',
    '*',
    `${'a'.repeat(300)}:80`,
  ]) {
    const connection = await connectRaw(app.url);
    connection.send(
      `CONNECT ${target} HTTP/1.1\r\nHost: github-mcp.svc\r\n\r\nGET /mcp HTTP/1.1\r\nHost: github-mcp.svc\r\n\r\n`,
    );
    const all = await soon(target, connection.closed());
    assert.match(all, /^HTTP\/1\.1 (403 Forbidden\r\n[\s\S]*ERR_ROUTE_NOT_FOUND|400 Bad Request)/, target);
    assert.equal(all.match(/HTTP\/1\.1/g)?.length, 1, target);
    if (all.includes('403')) refused += 1;
  }
  assert.equal(upstream.requests.length, 0);
  const labels = { route: '_unmatched', method: 'CONNECT', code: '403', outcome: 'refused' };
  assert.ok(refused >= 4);
  assert.equal(sumSamples(await app.metrics(), 'cambist_requests_total', labels), refused);
  assert.ok(
    app.logs.some(
      ({ msg, method, error }) => msg === 'request' && method === 'CONNECT' && error === 'ERR_ROUTE_NOT_FOUND',
    ),
  );
});

test('TLS inside a tunnel to a route is refused in its own words, and said in the log', async (t) => {
  const { app } = await startNamed(t);
  const connection = await connectRaw(app.url);
  connection.send('CONNECT github-mcp.svc:443 HTTP/1.1\r\n\r\n');
  await connection.until(ESTABLISHED);
  connection.send(Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]));
  const all = await soon('the end', connection.closed());
  assert.deepEqual(Buffer.from(all.slice(ESTABLISHED.length), 'latin1'), Buffer.from([0x15, 3, 1, 0, 2, 2, 40]));
  assert.match(app.logText(), /TLS inside a tunnel to a route is refused/);
});

test('a tunnel inside a tunnel is refused', async (t) => {
  const { app } = await startNamed(t);
  const connection = await connectRaw(app.url);
  connection.send('CONNECT github-mcp.svc:80 HTTP/1.1\r\n\r\nCONNECT github-mcp.svc:80 HTTP/1.1\r\n\r\n');
  assert.match(await soon('the end', connection.closed()), /Established\r\n\r\nHTTP\/1\.1 403 /);
});

/** cambist with a tunnel to a server that answers by itself. */
async function startTunnelled(t: TestContext, top: Record<string, unknown> = {}) {
  const far = await startFakeUpstream(echo);
  t.after(far.close);
  const authority = `127.0.0.1:${far.port}`;
  const app = await startTestApp(t, {
    routes: [{ name: 'r', match: { host: 'r.svc' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
    forward_proxy: { connect: [authority] },
    ...top,
  });
  return { app, far, authority };
}

test('an authority of the config is tunnelled to as bytes, counted, and gets no token or header of ours', async (t) => {
  const { app, far, authority } = await startTunnelled(t);
  const connection = await connectRaw(app.url);
  connection.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nProxy-Authorization: Basic eDp5\r\n\r\n`);
  await connection.until(ESTABLISHED);
  const openNow = async () => sumSamples(await app.metrics(), 'cambist_open_tunnels', { authority });
  assert.equal(await openNow(), 1);
  connection.send('GET /any HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const all = await soon('the answer', connection.closed());
  assert.match(all, /"url":"\/any"/);
  assert.deepEqual(far.requests[0]?.rawHeaders, ['Host', 'x', 'Connection', 'close']);
  await eventually('the tunnel is closed', async () => (await openNow()) === 0);
  const text = await app.metrics();
  assert.equal(sumSamples(text, 'cambist_tunnels_total', { authority }), 1);
  assert.equal(sumSamples(text, 'cambist_requests_total', { method: 'CONNECT', code: '200', outcome: 'forwarded' }), 1);
  assert.ok(app.logs.some(({ msg, method, status }) => msg === 'request' && method === 'CONNECT' && status === 200));
});

test('an authority is allowed exactly: with its port, and no other name of it', async (t) => {
  const { app, far } = await startTunnelled(t);
  for (const target of [`localhost:${far.port}`, `127.0.0.1:${far.port + 1}`, `127.0.0.1:0${far.port}`, '127.0.0.1']) {
    const connection = await connectRaw(app.url);
    connection.send(`CONNECT ${target} HTTP/1.1\r\n\r\n`);
    const all = await soon(target, connection.closed());
    if (target.includes(':0')) continue;
    assert.match(all, /ERR_ROUTE_NOT_FOUND|400 Bad Request/, target);
  }
});

test('a tunnel whose far end is away is answered 502', async (t) => {
  const { app, far, authority } = await startTunnelled(t);
  await far.close();
  const connection = await connectRaw(app.url);
  connection.send(`CONNECT ${authority} HTTP/1.1\r\n\r\n`);
  assert.match(await soon('the answer', connection.closed()), /^HTTP\/1\.1 502 [\s\S]*ERR_UPSTREAM_UNREACHABLE/);
});
