import assert from 'node:assert/strict';
import { connect as connectTcp, createServer as createTcpServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { connectRaw } from '../harness/http-call.ts';
import { freePort, listen } from '../harness/http-server.ts';
import { INTERCEPTED, type InterceptedOptions, secured, startIntercepted } from '../harness/intercepted.ts';
import { sumSamples } from '../harness/metric-samples.ts';

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
  const { secure, authorization, upstream, authorizationServer, app } = await startRedirected(t, {
    listen: [`127.0.0.1:${port}`],
    top: { forward_proxy: { connect: [`*.example.com:${port}`, '*.example.com:443'] } },
  });
  const connection = await secure(INTERCEPTED);
  connection.send(
    `GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`,
  );
  assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 200 /);
  assert.deepEqual(upstream.requests[0]?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  assert.equal(sumSamples(await app.metrics(), 'cambist_arrivals_total', { way_in: 'redirect', route: 'github' }), 1);
  assert.ok(app.logs.some(({ msg, way_in: way }) => msg === 'request' && way === 'redirect'));
});

test('serves plain HTTP by its Host, and no CONNECT', async (t) => {
  const { address, authorization } = await startRedirected(t);
  for (const [sent, status] of [
    [
      `GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`,
      '200',
    ],
    ['GET / HTTP/1.1\r\nHost: elsewhere.example.com\r\nConnection: close\r\n\r\n', '403'],
    [
      `GET http://${INTERCEPTED}/mcp HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`,
      '403',
    ],
    [`CONNECT ${INTERCEPTED}:443 HTTP/1.1\r\nHost: ${INTERCEPTED}\r\n\r\n`, '403'],
  ] as const) {
    const connection = await connectRaw(address);
    connection.send(sent);
    assert.equal((await soon('the response', connection.closed())).slice(9, 12), status);
  }
});

test('a route without a host takes no request for a host that no route names', async (t) => {
  const gateway = await startRedirected(t, {
    top: { host_header: 'x-kagent-host' },
    moreRoutes: [{ name: 'any', match: { path: '/' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  const { address, app, secure, config } = gateway;
  for (const more of ['', `X-Kagent-Host: ${INTERCEPTED}\r\n`]) {
    const plain = await connectRaw(address);
    plain.send(`GET /mcp HTTP/1.1\r\nHost: elsewhere.example.com\r\n${more}Connection: close\r\n\r\n`);
    assert.match(await soon('the response', plain.closed()), /^HTTP\/1\.1 403 [\s\S]*ERR_ROUTE_NOT_FOUND/);
  }
  const connection = await secure(INTERCEPTED);
  app.reloadTo({ ...config, routes: config.routes.slice(1) });
  connection.send(`GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nConnection: close\r\n\r\n`);
  assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 403 [\s\S]*ERR_ROUTE_NOT_FOUND/);
});

for (const [what, servername, cause] of [
  ['a host of no route', 'elsewhere.example.com', 'unrouted'],
  ['a host below that of a route', `x.${INTERCEPTED}`, 'unrouted'],
  ['no host', '', 'server_name'],
] as const) {
  test(`closes a TLS connection for ${what} by an alert, and sends nothing`, async (t) => {
    const { secure, app, upstream, authorizationServer } = await startRedirected(t);
    await assert.rejects(secure(servername), /unrecognized name/);
    await eventually('the failure is counted', async () => {
      return sumSamples(await app.metrics(), 'cambist_handshake_failures_total', { cause }) === 1;
    });
    assert.equal(upstream.requests.length + authorizationServer.requests.length, 0);
  });
}

test('returns 421 to a request for another host than that of the handshake', async (t) => {
  const { secure, upstream } = await startRedirected(t);
  const connection = await secure(INTERCEPTED);
  connection.send('GET /mcp HTTP/1.1\r\nHost: elsewhere.example.com\r\nConnection: close\r\n\r\n');
  assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 421 /);
  assert.equal(upstream.requests.length, 0);
});

test('passes the bytes of a host that forward_proxy.connect allows untouched', async (t) => {
  const authority = createCertificateAuthority('of the server');
  const { cert, key } = authority.issueServer({ hosts: ['localhost'] });
  const server = createServer({ cert, key }, (socket) => socket.end(`served ${socket.servername}`));
  const { port } = await listen(server);
  t.after(() => server.close());
  const { app } = await startIntercepted(t, {
    // The same port, on another address than the server.
    listen: [`[::1]:${port}`],
    top: { forward_proxy: { connect: [`localhost:${port}`] } },
  });
  const connection = await secured(connect({ host: '::1', port, servername: 'localhost', ca: authority.cert }));
  assert.equal(await soon('the response', connection.closed()), 'served localhost');
  assert.equal(sumSamples(await app.metrics(), 'cambist_tunnels_total', { authority: `localhost:${port}` }), 1);
  await eventually(
    'the tunnel is closed',
    async () => sumSamples(await app.metrics(), 'cambist_open_tunnels', {}) === 0,
  );
});

test('closes the connection to an allowed host that leads back to cambist, or is unreachable', async (t) => {
  const port = await freePort();
  const { app } = await startIntercepted(t, {
    listen: [`127.0.0.1:${port}`],
    top: { forward_proxy: { connect: [`localhost:${port}`, 'x.localhost:443'] } },
  });
  for (const servername of ['localhost', 'x.localhost']) {
    await assert.rejects(secured(connect({ host: '127.0.0.1', port, servername })), /ECONNRESET|closed|disconnected/);
  }
  assert.equal(sumSamples(await app.metrics(), 'cambist_tunnels_total', {}), 0);
  const failed = app.logs.filter(({ msg }) => msg === 'redirected connection cannot be passed on; closing it');
  assert.deepEqual(
    failed.map(({ authority }) => authority),
    [`localhost:${port}`, 'x.localhost:443'],
  );
  assert.match(app.logText(), /127\.0\.0\.1:\d+ is cambist itself/);
});

test('opens no tunnel to a listener of cambist, by CONNECT or by redirection', async (t) => {
  const [listen, admin, redirected] = [await freePort(), await freePort(), await freePort()];
  const ports = [listen, admin, redirected];
  const { app, tunnel } = await startIntercepted(t, {
    // Redirected connections to the ports of the other listeners arrive at another address.
    listen: [`127.0.0.1:${redirected}`, `[::1]:${listen}`, `[::1]:${admin}`],
    top: {
      ...{ listen: `127.0.0.1:${listen}`, admin: `127.0.0.1:${admin}` },
      forward_proxy: { connect: ports.map((port) => `localhost:${port}`) },
    },
  });
  for (const port of ports) {
    const connection = await tunnel(`localhost:${port}`);
    assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 502 [\s\S]*ERR_UPSTREAM_UNREACHABLE/);
    const host = port === redirected ? '127.0.0.1' : '::1';
    await assert.rejects(secured(connect({ host, port, servername: 'localhost' })), /ECONNRESET|closed|disconnected/);
  }
  assert.equal(app.logText().match(/:\d+ is cambist itself/g)?.length, 2 * ports.length);
  assert.equal(sumSamples(await app.metrics(), 'cambist_tunnels_total', {}), 0);
});

test('closes the connection that passes to a host, when a reload gives the host a route', async (t) => {
  const server = createTcpServer((socket) => socket.on('error', () => {}).resume());
  const { port } = await listen(server);
  t.after(() => server.close());
  const { app, config } = await startIntercepted(t, {
    listen: [`[::1]:${port}`],
    top: { forward_proxy: { connect: [`localhost:${port}`] } },
  });
  const socket = connect({ host: '::1', port, servername: 'localhost' });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const open = async (): Promise<number> => sumSamples(await app.metrics(), 'cambist_open_tunnels', {});
  await eventually('the tunnel is open', async () => (await open()) === 1);
  const routes = config.routes.map((route) => ({ ...route, match: { host: 'localhost' } }));
  app.reloadTo({ ...config, routes });
  await soon('the connection is closed', closed);
  await eventually('no tunnel is counted', async () => (await open()) === 0);
});

for (const [limit, limits] of [
  ['max_in_flight', { max_in_flight: 1 }],
  ['max_in_flight_per_upstream', { max_in_flight: 10, max_in_flight_per_upstream: 1 }],
] as const) {
  test(`${limit} limits the connections that pass to one host, until they close`, async (t) => {
    const server = createTcpServer((socket) => socket.on('error', () => {}).resume());
    const { port } = await listen(server);
    t.after(() => server.close());
    const { app } = await startIntercepted(t, {
      listen: [`[::1]:${port}`],
      top: {
        forward_proxy: { connect: [`localhost:${port}`] },
        limits,
      },
    });
    const begin = () => {
      const socket = connect({ host: '::1', port, servername: 'localhost' });
      socket.on('error', () => {});
      return { socket, closed: new Promise((resolve) => socket.once('close', resolve)) };
    };
    const opened = async (count: number): Promise<boolean> =>
      sumSamples(await app.metrics(), 'cambist_tunnels_total', {}) === count;
    const first = begin();
    await eventually('the first tunnel is open', () => opened(1));
    await soon('the second connection is closed', begin().closed);
    assert.match(app.logText(), new RegExp(`limits\\.${limit}\\b`));
    first.socket.destroy();
    await eventually(
      'the first tunnel is closed',
      async () => sumSamples(await app.metrics(), 'cambist_open_tunnels', {}) === 0,
    );
    const third = begin();
    await eventually('another tunnel is open', () => opened(2));
    third.socket.destroy();
  });
}

test('refuses an upstream whose name leads back to cambist', async (t) => {
  const gateway = await startRedirected(t);
  const { port, app, config, authorization } = gateway;
  app.reloadTo({
    ...config,
    routes: config.routes.map((route) => ({ ...route, upstream: `http://localhost:${port}` })),
  });
  const connection = await connectRaw(gateway.address);
  connection.send(
    `GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nAuthorization: ${authorization}\r\nConnection: close\r\n\r\n`,
  );
  assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 502 [\s\S]*ERR_UPSTREAM_UNREACHABLE/);
  assert.match(app.logText(), /127\.0\.0\.1:\d+ is cambist itself: its name must lead to the backend in DNS/);
  const requests = app.logs.filter(({ msg }) => msg === 'request');
  assert.equal(requests.length, 1, 'the request went around no loop');
});

test('closes connections that say nothing, at shutdown', async (t) => {
  const { app, port } = await startRedirected(t);
  const silent = connectTcp(port, '127.0.0.1');
  await new Promise((resolve) => silent.once('connect', resolve));
  const closed = new Promise((resolve) => silent.once('close', resolve));
  silent.on('error', () => {});
  await soon('the app has stopped', app.stop());
  await soon('the connection is closed', closed);
});

test('does not start on an address that is taken', async (t) => {
  const { port } = await startRedirected(t);
  await assert.rejects(
    startIntercepted(t, { listen: [`127.0.0.1:${port}`] }),
    /intercept\.listen: cannot listen on .*another process/,
  );
});

test('closes an idle TLS connection for a new one at limits.max_connections, and no busy one', async (t) => {
  const { secure, authorization, upstream } = await startRedirected(t, {
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

test('follows a reload of limits.max_connections', async (t) => {
  const { secure, authorization, upstream, app, config } = await startRedirected(t, {
    top: { limits: { max_in_flight: 2, max_connections: 1 } },
    handler: () => {},
  });
  const request = `GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nAuthorization: ${authorization}\r\n\r\n`;
  (await secure(INTERCEPTED)).send(request);
  await eventually('the backend has the request', () => upstream.requests.length === 1);
  app.reloadTo({ ...config, limits: { max_in_flight: 2, max_connections: 2 } });
  (await secure(INTERCEPTED)).send(request);
  await eventually('the backend has another request', () => upstream.requests.length === 2);
});
