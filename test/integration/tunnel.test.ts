import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { ProxyAgent, request } from 'undici';
import { startTestApp } from '../harness/app.ts';
import { flood } from '../harness/disconnects.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { type GatewayOptions, startGateway } from '../harness/gateway.ts';
import { connectRaw, sendRaw } from '../harness/http-call.ts';
import { serve } from '../harness/http-server.ts';
import { words } from '../harness/words.ts';

/** A gateway with a route that matches a host name, for an agent that uses HTTP_PROXY. */
function startHostRoute(t: TestContext, options: GatewayOptions = {}) {
  return startGateway(t, { ...options, route: { match: { host: 'github-mcp.svc', path: '/mcp' }, ...options.route } });
}

const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';

const connectTo = (target: string, host = target) => `CONNECT ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`;

/** A connection on which a CONNECT and the bytes after it have been sent. */
async function sendConnect({ url }: { readonly url: string }, target: string, after = '') {
  const connection = await connectRaw(url);
  connection.send(connectTo(target) + after);
  return connection;
}

test('serves HTTP inside a CONNECT to the host of a route, and routes each request by its Host', async (t) => {
  const { app, authorization, upstream, authorizationServer } = await startHostRoute(t, {
    moreRoutes: [{ name: 'docs', match: { host: 'docs.svc' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  const connection = await sendConnect(app, 'GitHub-MCP.svc.:8080');
  await connection.until(ESTABLISHED);
  for (const path of ['/mcp/a', '/mcp/b']) {
    connection.send(`GET ${path} HTTP/1.1\r\nHost: github-mcp.svc\r\nAuthorization: ${authorization}\r\n\r\n`);
    await soon('the response', connection.until(`"url":"${path}"`));
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

test('serves a request that arrives in the same packet as the CONNECT', async (t) => {
  const { app, authorization } = await startHostRoute(t);
  const head = `POST /mcp HTTP/1.1\r\nHost: github-mcp.svc\r\nAuthorization: ${authorization}\r\n`;
  const inner = `${head}Content-Length: 5\r\nConnection: close\r\n\r\nhello`;
  const all = await sendRaw(app.url, connectTo('github-mcp.svc:80') + inner);
  assert.ok(all.startsWith(ESTABLISHED));
  assert.match(all, /"body":"hello"/);
});

test('passes large bodies inside a CONNECT', async (t) => {
  const { app, authorization, upstream } = await startHostRoute(t, {
    handler: async (request, response) => void response.end(await request.body()),
  });
  const size = 3_000_000;
  const head = `POST /mcp HTTP/1.1\r\nHost: github-mcp.svc\r\nAuthorization: ${authorization}\r\n`;
  const connection = await sendConnect(app, 'github-mcp.svc:80', head);
  connection.send(`Content-Length: ${size}\r\nConnection: close\r\n\r\n`);
  connection.send(Buffer.alloc(size, 'x'));
  const all = await soon('the response', connection.closed());
  assert.equal(all.length - all.lastIndexOf('\r\n\r\n') > size, true);
  assert.equal((await upstream.requests[0]?.body())?.length, size);
});

for (const [form, proxyTunnel] of [
  ['in absolute form', false],
  ['by CONNECT, also for http', true],
] as const) {
  test(`serves the proxy agent of undici ${form}`, async (t) => {
    const { app, authorization } = await startHostRoute(t);
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

/** Short ones, in place of a host. */
const TOKENS = ['kX7pLq2vR9', 's3cr3t-0f-alice', 'opaque_token'];

test('refuses CONNECT to any other target with 403, counts and logs it, and closes the connection', async (t) => {
  const { app, upstream } = await startHostRoute(t, {
    moreRoutes: [{ name: 'any', match: { path: '/' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  let refused = 0;
  for (const target of [
    ...words(
      'elsewhere.example.com:443 github-mcp.svc x.github-mcp.svc:80 /mcp user@github-mcp.svc:80 github-mcp.svc:80:80',
    ),
    ...['*', new URL(upstream.url).host, `${'a'.repeat(300)}:80`, 'cbh_0123456789abcdefghijk-1:443'],
    ...TOKENS.map((token) => `${token}:443`),
  ]) {
    const inner = 'GET /mcp HTTP/1.1\r\nHost: github-mcp.svc\r\n\r\n';
    const all = await sendRaw(app.url, connectTo(target, 'github-mcp.svc') + inner);
    assert.match(all, /^HTTP\/1\.1 (403 Forbidden \(ERR_ROUTE_NOT_FOUND\)\r\n|400 Bad Request)/, target);
    assert.equal(all.match(/HTTP\/1\.1/g)?.length, 1, target);
    if (all.includes('403')) refused += 1;
  }
  assert.equal(upstream.requests.length, 0);
  const labels = { route: '_unmatched', method: 'CONNECT', code: '403', outcome: 'refused' };
  assert.ok(refused >= 4);
  assert.equal(await app.metric('cambist_requests_total', labels), refused);
  assert.match(app.logText(), /"method":"CONNECT".*"error":"ERR_ROUTE_NOT_FOUND"/);
  assert.match(app.logText(), /CONNECT to \\"elsewhere.example.com:443\\".*add \\"elsewhere.*:443\\" to forward_proxy/);
  assert.match(app.logText(), /CONNECT to an authority that is not a plain host:port/);
  for (const token of ['cbh_0123456789', ...TOKENS]) {
    assert.ok(!app.logText().toLowerCase().includes(token.toLowerCase()), 'a token in place of a host is not logged');
  }
});

test('refuses TLS inside a tunnel to a route with a TLS alert and a log line', async (t) => {
  const { app } = await startHostRoute(t);
  const connection = await sendConnect(app, 'github-mcp.svc:443');
  await connection.until(ESTABLISHED);
  connection.send(Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]));
  const all = await soon('the connection closes', connection.closed());
  assert.deepEqual(Buffer.from(all.slice(ESTABLISHED.length), 'latin1'), Buffer.from([0x15, 3, 1, 0, 2, 2, 40]));
  assert.match(app.logText(), /TLS to the host of a route is refused; set intercept/);
});

test('refuses a tunnel inside a tunnel', async (t) => {
  const { app } = await startHostRoute(t);
  const twice = connectTo('github-mcp.svc:80').repeat(2);
  assert.match(await sendRaw(app.url, twice), /Established\r\n\r\nHTTP\/1\.1 403 /);
});

/** An app that tunnels to this port. */
async function startTunnelTo(t: TestContext, port: number, top: Record<string, unknown> = {}) {
  const authority = `127.0.0.1:${port}`;
  const routes = [{ name: 'r', match: { host: 'r.svc' }, upstream: 'http://127.0.0.1:1', credential: 'none' }];
  const app = await startTestApp(t, { routes, forward_proxy: { connect: [authority] }, ...top });
  return { app, authority };
}

async function startTunnelled(t: TestContext) {
  const server = await startFakeUpstream(t, echo);
  return { server, ...(await startTunnelTo(t, server.port)) };
}

test('tunnels bytes to an authority of the config, adds no token or header, and counts the tunnel', async (t) => {
  const { app, server, authority } = await startTunnelled(t);
  const connection = await connectRaw(app.url);
  connection.send(`CONNECT ${authority} HTTP/1.1\r\nHost: ${authority}\r\nProxy-Authorization: Basic eDp5\r\n\r\n`);
  await connection.until(ESTABLISHED);
  assert.equal(await app.metric('cambist_open_tunnels', { authority }), 1);
  connection.send('GET /any HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const all = await soon('the response', connection.closed());
  assert.match(all, /"url":"\/any"/);
  assert.deepEqual(server.requests[0]?.rawHeaders, ['Host', 'x', 'Connection', 'close']);
  await app.metricBecomes('cambist_open_tunnels', 0, { authority });
  assert.equal(await app.metric('cambist_tunnels_total', { authority }), 1);
  const labels = { method: 'CONNECT', code: '200', outcome: 'forwarded' };
  assert.equal(await app.metric('cambist_requests_total', labels), 1);
  assert.ok(app.logs.some(({ msg, method, status }) => msg === 'request' && method === 'CONNECT' && status === 200));
});

test('tunnels only to the exact host and port of the config', async (t) => {
  const { app, server } = await startTunnelled(t);
  for (const target of [`localhost:${server.port}`, `127.0.0.1:${server.port + 1}`, '127.0.0.1']) {
    assert.match(await sendRaw(app.url, connectTo(target)), /ERR_ROUTE_NOT_FOUND|400 Bad Request/, target);
  }
});

test('returns 502 when the server of a tunnel is unreachable', async (t) => {
  const { app, server, authority } = await startTunnelled(t);
  await server.close();
  const response = await sendRaw(app.url, connectTo(authority));
  assert.match(response, /^HTTP\/1\.1 502 [\s\S]*ERR_UPSTREAM_UNREACHABLE/);
});

/** A tunnel to a server with the given behaviour, and the client at its other side. */
async function startTunnel(t: TestContext, behave: (socket: Socket) => void, top: Record<string, unknown> = {}) {
  const sockets: Socket[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.push(socket);
    behave(socket);
  });
  const { port } = await serve(t, server);
  const { app, authority } = await startTunnelTo(t, port, top);
  const client = await sendConnect(app, authority);
  await soon('the tunnel opens', client.until('Established\r\n\r\n'));
  await eventually('the server has the connection', () => sockets.length === 1);
  return { app, client, authority, server: sockets[0] as Socket };
}

const closeOf = (socket: Socket) => new Promise((resolve) => socket.once('close', resolve));

test("forwards the client's half-close to the server, and still returns data from the server", async (t) => {
  const { client } = await startTunnel(t, (socket) => {
    socket.on('data', (chunk) => socket.once('end', () => setTimeout(() => socket.end(`got ${chunk}`), 50)));
  });
  client.socket.end('hello');
  assert.match(await soon('the response', client.closed()), /\r\n\r\ngot hello$/);
});

test("forwards the server's half-close to the client, and still forwards data from the client", async (t) => {
  const { client, server } = await startTunnel(t, () => {});
  const received = text(server);
  client.socket.allowHalfOpen = true;
  server.end('first');
  await client.until('first');
  await once(client.socket, 'end');
  client.socket.end('later');
  assert.equal(await received, 'later');
});

test('forwards a reset by the server to the client, and the reverse', async (t) => {
  const one = await startTunnel(t, () => {});
  const failed = new Promise<NodeJS.ErrnoException>((resolve) => one.client.socket.once('error', resolve));
  one.server.resetAndDestroy();
  assert.equal((await soon('the reset', failed)).code, 'ECONNRESET');
  const other = await startTunnel(t, () => {});
  const gone = closeOf(other.server);
  other.client.socket.resetAndDestroy();
  await soon('the server sees the connection close', gone);
});

test('pauses the client while the server does not read', async (t) => {
  const { client } = await startTunnel(t, (socket) => socket.pause());
  await flood(client);
  assert.equal(client.socket.destroyed, false);
});

test('closes the tunnel to a host that gets a route in a reload, and no other', async (t) => {
  const { app, client, authority, server } = await startTunnel(t, (socket) => socket.pipe(socket));
  const route = { name: 'r', upstream: 'http://127.0.0.1:1', credential: 'none' };
  const allowed = { forward_proxy: { connect: [authority] } };
  app.reloadTo({ ...allowed, routes: [{ ...route, match: { host: '127.0.0.2' } }] });
  client.send('still open');
  await soon('data passes', client.until('still open'));
  app.reloadTo({ ...allowed, routes: [{ ...route, match: { host: '127.0.0.1' } }] });
  await soon('the client sees the connection close', client.closed());
  await eventually('the server sees the connection close', () => server.destroyed);
  assert.match(app.logText(), /closed 1 tunnels to hosts that have a route now/);
  await app.metricBecomes('cambist_open_tunnels', 0);
});

test('keeps an open tunnel during shutdown, and closes it when the grace elapses', async (t) => {
  const limits = { shutdown_grace: '3s' };
  const { app, client, server } = await startTunnel(t, (socket) => socket.pipe(socket), { limits });
  const stopped = app.stop();
  client.send('ping');
  await soon('data passes', client.until('ping'));
  await soon('the app has stopped', stopped);
  await soon('the client sees the connection close', client.closed());
  await eventually('the server sees the connection close', () => server.destroyed || server.readableEnded);
});

test('stops at once if no request is in flight inside a CONNECT', async (t) => {
  const { app } = await startTunnelTo(t, 1);
  const idle = await sendConnect(app, 'r.svc:80');
  await idle.until('Established');
  const used = await sendConnect(app, 'r.svc:80', 'GET / HTTP/1.1\r\nHost: r.svc\r\n\r\n');
  await used.until('ERR_UPSTREAM_UNREACHABLE');
  await soon('the app has stopped', app.stop());
  await soon('the clients see their connections close', Promise.all([idle.closed(), used.closed()]));
});

test('opens no tunnel beyond max_in_flight or during shutdown', async (t) => {
  const limits = { max_in_flight: 1, shutdown_grace: '1h' };
  const { app, authority } = await startTunnel(t, () => {}, { limits });
  assert.match(await sendRaw(app.url, connectTo(authority)), /^HTTP\/1\.1 503 [\s\S]*ERR_OVERLOADED/);
  const idle = await Promise.all([connectRaw(app.url), connectRaw(app.url)]);
  const hurry = new AbortController();
  const stopped = app.stop(hurry.signal);
  await eventually('requests are refused', () => app.logText().includes('draining requests in flight'));
  for (const [index, connection] of idle.entries()) {
    connection.send(`CONNECT ${['r.svc:80', authority][index]} HTTP/1.1\r\n\r\n`);
    assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 503 [\s\S]*ERR_SHUTTING_DOWN/);
  }
  hurry.abort();
  await soon('the app has stopped', stopped);
});
