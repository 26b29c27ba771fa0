import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { startRawUpstream } from '../harness/fake-upstream.ts';
import { connectRaw, rawConnection, sendRaw } from '../harness/http-call.ts';
import { freePort, serve } from '../harness/http-server.ts';
import { get, INTERCEPTED, type InterceptedOptions, secured, startIntercepted } from '../harness/intercepted.ts';

/** A gateway that also listens where names and packets lead. */
async function startRedirected(t: TestContext, options: InterceptedOptions = {}) {
  const gateway = await startIntercepted(t, { listen: ['127.0.0.1:0'], ...options });
  const [address = ''] = gateway.app.intercepting;
  const port = Number(new URL(address).port);
  const secure = (servername: string, more: object = {}) =>
    secured(connect({ host: '127.0.0.1', port, servername, ca: gateway.ca, ...more }));
  return { ...gateway, address, port, secure };
}

test('serves TLS for a routed host that was led here, without a proxy, even if forward_proxy.connect allows it', async (t) => {
  const port = await freePort();
  const gateway = await startRedirected(t, {
    listen: [`127.0.0.1:${port}`],
    top: { forward_proxy: { connect: [`*.example.com:${port}`, '*.example.com:443'] } },
  });
  const { secure, upstream, authorizationServer, app } = gateway;
  assert.match(await (await secure(INTERCEPTED)).ask(get(gateway)), /^HTTP\/1\.1 200 /);
  const misdirected = get(gateway, '/mcp', 'elsewhere.example.com');
  assert.match(await (await secure(INTERCEPTED)).ask(misdirected), /^HTTP\/1\.1 421 /);
  assert.equal(upstream.requests.length, 1);
  assert.deepEqual(upstream.requests[0]?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  assert.equal(await app.metric('cambist_arrivals_total', { way_in: 'redirect', route: 'github' }), 1);
  assert.ok(app.logs.some(({ msg, way_in: way }) => msg === 'request' && way === 'redirect'));
});

test('serves plain HTTP by its Host, and no CONNECT', async (t) => {
  const gateway = await startRedirected(t);
  for (const [sent, status] of [
    [get(gateway), '200'],
    [get(gateway, '/', 'elsewhere.example.com'), '403'],
    [get(gateway, `http://${INTERCEPTED}/mcp`, INTERCEPTED, 'Host: localhost\r\n'), '403'],
    [`CONNECT ${INTERCEPTED}:443 HTTP/1.1\r\nHost: ${INTERCEPTED}\r\n\r\n`, '403'],
  ] as const) {
    assert.equal((await sendRaw(gateway.address, sent)).slice(9, 12), status);
  }
});

test('a route without a host takes no request for a host that no route names', async (t) => {
  const gateway = await startRedirected(t, {
    top: { host_header: 'x-kagent-host' },
    moreRoutes: [{ name: 'any', match: { path: '/' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  const { address, app, secure, config } = gateway;
  for (const more of ['', `X-Kagent-Host: ${INTERCEPTED}\r\n`]) {
    const plain = await sendRaw(address, get(gateway, '/mcp', 'elsewhere.example.com', more));
    assert.match(plain, /^HTTP\/1\.1 403 [\s\S]*ERR_ROUTE_NOT_FOUND/);
  }
  const connection = await secure(INTERCEPTED);
  app.reloadTo({ ...config, routes: config.routes.slice(1) });
  assert.match(await connection.ask(get(gateway)), /^HTTP\/1\.1 403 [\s\S]*ERR_ROUTE_NOT_FOUND/);
});

for (const [what, servername, cause] of [
  ['a host of no route', 'elsewhere.example.com', 'unrouted'],
  ['a host below that of a route', `x.${INTERCEPTED}`, 'unrouted'],
  ['no host', '', 'server_name'],
] as const) {
  test(`closes a TLS connection for ${what} by an alert, and sends nothing`, async (t) => {
    const { secure, app, upstream, authorizationServer } = await startRedirected(t);
    await assert.rejects(secure(servername), /unrecognized name/);
    await app.metricBecomes('cambist_handshake_failures_total', 1, { cause });
    assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
  });
}

test('passes the bytes of a host that forward_proxy.connect allows untouched', async (t) => {
  const authority = createCertificateAuthority('of the server');
  const { cert, key } = authority.issueServer({ hosts: ['localhost'] });
  const server = createServer({ cert, key }, (socket) => socket.end(`served ${socket.servername}`));
  const { port } = await serve(t, server);
  const { app } = await startIntercepted(t, {
    // The same port, on another address than the server.
    listen: [`[::1]:${port}`],
    top: { forward_proxy: { connect: [`localhost:${port}`] } },
  });
  const connection = await secured(connect({ host: '::1', port, servername: 'localhost', ca: authority.cert }));
  assert.equal(await soon('the response', connection.closed()), 'served localhost');
  assert.equal(await app.metric('cambist_tunnels_total', { authority: `localhost:${port}` }), 1);
  await app.metricBecomes('cambist_open_tunnels', 0);
});

test('opens no tunnel to an unreachable host or to a listener of cambist, by CONNECT or by redirection', async (t) => {
  const [listen, admin, redirected] = [await freePort(), await freePort(), await freePort()];
  const ports = [listen, admin, redirected];
  const { app, tunnel } = await startIntercepted(t, {
    // Redirected connections to the ports of the other listeners arrive at another address.
    listen: [`127.0.0.1:${redirected}`, `[::1]:${listen}`, `[::1]:${admin}`],
    top: {
      ...{ listen: `127.0.0.1:${listen}`, admin: `127.0.0.1:${admin}` },
      forward_proxy: { connect: ['x.localhost:443', ...ports.map((port) => `localhost:${port}`)] },
    },
  });
  const refused = (host: string, port: number, servername: string) =>
    assert.rejects(secured(connect({ host, port, servername })), /ECONNRESET|closed|disconnected/);
  for (const port of ports) {
    const connection = await tunnel(`localhost:${port}`);
    assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 502 [\s\S]*ERR_UPSTREAM_UNREACHABLE/);
    await refused(port === redirected ? '127.0.0.1' : '::1', port, 'localhost');
  }
  await refused('127.0.0.1', redirected, 'x.localhost');
  const failed = app.logs.filter(({ msg }) => msg === 'redirected connection cannot be passed on; closing it');
  const hosts = [...ports.map((port) => `localhost:${port}`), 'x.localhost:443'];
  assert.deepEqual(failed.map(({ authority }) => authority).toSorted(), hosts.toSorted());
  assert.equal(app.logText().match(/:\d+ is cambist itself/g)?.length, 2 * ports.length);
  assert.equal(await app.metric('cambist_tunnels_total'), 0);
});

/** Passes connections to a host that reads everything and says nothing. */
async function startPassing(t: TestContext, limits: object = {}) {
  const { port } = new URL((await startRawUpstream(t, '', 'keep')).url);
  const { app, config } = await startIntercepted(t, {
    listen: [`[::1]:${port}`],
    top: { forward_proxy: { connect: [`localhost:${port}`] }, limits },
  });
  const begin = () => rawConnection(connect({ host: '::1', port: Number(port), servername: 'localhost' }));
  const until = (count: number, name = 'cambist_open_tunnels') => app.metricBecomes(name, count);
  return { app, config, begin, until };
}

test('closes the connection that passes to a host, when a reload gives the host a route', async (t) => {
  const { app, config, begin, until } = await startPassing(t);
  const connection = begin();
  await until(1);
  const routes = config.routes.map((route) => ({ ...route, match: { host: 'localhost' } }));
  app.reloadTo({ ...config, routes });
  await soon('the connection is closed', connection.closed());
  await until(0);
});

for (const [limit, limits] of [
  ['max_in_flight', { max_in_flight: 1 }],
  ['max_in_flight_per_upstream', { max_in_flight: 10, max_in_flight_per_upstream: 1 }],
] as const) {
  test(`${limit} limits the connections that pass to one host, until they close`, async (t) => {
    const { app, begin, until } = await startPassing(t, limits);
    const first = begin();
    await until(1);
    await soon('the second connection is closed', begin().closed());
    assert.match(app.logText(), new RegExp(`limits\\.${limit}\\b`));
    first.socket.destroy();
    await until(0);
    const third = begin();
    await until(2, 'cambist_tunnels_total');
    third.socket.destroy();
  });
}

test('refuses an upstream whose name leads back to cambist', async (t) => {
  const gateway = await startRedirected(t);
  const { port, app, config } = gateway;
  const routes = config.routes.map((route) => ({ ...route, upstream: `http://localhost:${port}` }));
  app.reloadTo({ ...config, routes });
  const response = await sendRaw(gateway.address, get(gateway));
  assert.match(response, /^HTTP\/1\.1 502 [\s\S]*ERR_UPSTREAM_UNREACHABLE/);
  assert.match(app.logText(), /127\.0\.0\.1:\d+ is cambist itself: its name must lead to the backend in DNS/);
  assert.equal((await app.logged('request')).length, 1, 'the request went around no loop');
});

test('closes connections that say nothing, at shutdown', async (t) => {
  const { app, address } = await startRedirected(t);
  const silent = await connectRaw(address);
  await soon('the app has stopped', app.stop());
  await soon('the connection is closed', silent.closed());
});

test('does not start on an address that is taken', async (t) => {
  const { port } = await startRedirected(t);
  await assert.rejects(
    startIntercepted(t, { listen: [`127.0.0.1:${port}`] }),
    /intercept\.listen: cannot listen on .*another process/,
  );
});

test('closes an idle TLS connection for a new one at limits.max_connections, and no busy one, until a reload raises it', async (t) => {
  const { secure, authorization, upstream, app, config } = await startRedirected(t, {
    top: { limits: { max_in_flight: 2, max_connections: 2 } },
    handler: (request, response) => {
      if (request.url.endsWith('/hung')) return;
      response.end('served');
    },
  });
  const requestOf = (path: string) =>
    `GET ${path} HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nAuthorization: ${authorization}\r\n\r\n`;
  const idle = await secure(INTERCEPTED);
  idle.send(requestOf('/mcp'));
  await soon('the response', idle.until(/served$/));
  const busy = await secure(INTERCEPTED);
  busy.send(requestOf('/mcp/hung'));
  await eventually('the backend has the request', () => upstream.requests.length === 2);
  const late = await secure(INTERCEPTED);
  await soon('the idle one is closed', idle.closed());
  late.send(requestOf('/mcp'));
  await soon('the response', late.until(/served$/));
  assert.equal(busy.socket.destroyed, false);
  app.reloadTo({ ...config, limits: { max_in_flight: 3, max_connections: 3 } });
  await secure(INTERCEPTED);
  late.send(requestOf('/mcp'));
  await soon('another response', late.until(/served[\s\S]*served$/));
});

test('closes an idle connection inside CONNECT for a new one at limits.max_connections, and no tunnel', async (t) => {
  const gateway = await startIntercepted(t, { top: { limits: { max_in_flight: 2, max_connections: 2 } } });
  const idle = await gateway.connectTls();
  const waiting = await gateway.tunnel();
  const late = await gateway.connectTls();
  await soon('the idle one is closed', idle.closed());
  assert.equal(waiting.socket.destroyed, false);
  assert.equal(late.socket.destroyed, false);
});
