import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect } from 'node:tls';
import { ProxyAgent, request, WebSocket } from 'undici';
import { startTestApp } from '../harness/app.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually, soon } from '../harness/eventually.ts';
import { connectRaw } from '../harness/http-call.ts';
import {
  ESTABLISHED,
  INTERCEPTED,
  type InterceptedGateway,
  secured,
  startByteRelay,
  startIntercepted,
} from '../harness/intercepted.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { startWebSocketServer } from '../harness/web-socket-server.ts';

/** A request whose response closes the connection. */
function get({ authorization }: InterceptedGateway, path = '/mcp/x', host = INTERCEPTED, headers = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n${headers}Connection: close\r\n\r\n`;
}

const failures = async ({ app }: InterceptedGateway, cause: string): Promise<number> =>
  sumSamples(await app.metrics(), 'cambist_handshake_failures_total', { cause });

/** Nothing left cambist: neither to the authorization server nor to the upstream. */
function assertNothingSent({ upstream, authorizationServer }: InterceptedGateway): void {
  assert.equal(upstream.requests.length, 0);
  assert.equal(authorizationServer.requests.length, 0);
}

test('exchanges the token of requests to https URLs, with an unchanged proxy client', async (t) => {
  const gateway = await startIntercepted(t);
  const { app, upstream, authorization, authorizationServer, ca } = gateway;
  const dispatcher = new ProxyAgent({ uri: app.url, requestTls: { ca } });
  t.after(() => dispatcher.close());
  for (const path of ['/mcp/a?x=1', '/mcp/b']) {
    const { statusCode, body } = await request(`https://${INTERCEPTED}${path}`, {
      dispatcher,
      headers: { authorization },
    });
    assert.equal(statusCode, 200);
    assert.equal(((await body.json()) as { url: string }).url, path);
  }
  assert.deepEqual(
    upstream.requests.map(({ authorization: [bearer] }) => bearer),
    Array(2).fill(`Bearer ${authorizationServer.requests[0]?.issued}`),
  );
  assert.equal(authorizationServer.requests.length, 1);
  const text = await app.metrics();
  assert.equal(sumSamples(text, 'cambist_arrivals_total', { route: 'github', way_in: 'proxy' }), 2);
  assert.equal(sumSamples(text, 'cambist_arrivals_total', { route: 'github', way_in: 'base_url' }), 0);
  assert.deepEqual(
    app.logs.filter(({ msg }) => msg === 'request').map(({ way_in: way, route }) => [way, route]),
    Array(2).fill(['proxy', 'github']),
  );
});

test('the certificate names only the host, and is valid for 24 hours from an hour ago', async (t) => {
  const gateway = await startIntercepted(t);
  const { socket } = await gateway.connectTls();
  const { subjectaltname, valid_from: from, valid_to: to } = socket.getPeerCertificate();
  assert.equal(subjectaltname, `DNS:${INTERCEPTED}`);
  assert.equal(Date.parse(to) - Date.parse(from), 24 * 3_600_000);
  const backdatedMs = Date.now() - Date.parse(from);
  assert.ok(backdatedMs >= 3_600_000 - 1000 && backdatedMs < 3_700_000, from);
  assert.equal(socket.alpnProtocol, false);
  assert.equal(sumSamples(await gateway.app.metrics(), 'cambist_connections', { listener: 'listen' }), 1);
});

test('makes one certificate for all connections to a host', async (t) => {
  const gateway = await startIntercepted(t);
  const certificates = await Promise.all([1, 2, 3].map(() => gateway.connectTls()));
  const serials = certificates.map(({ socket }) => socket.getPeerCertificate().serialNumber);
  assert.equal(new Set(serials).size, 1);
});

for (const [what, options, cause, alert] of [
  ['another server name', { servername: 'other.example.com' }, 'server_name', /unrecognized name/],
  ['a server name below its own', { servername: `x.${INTERCEPTED}` }, 'server_name', /unrecognized name/],
  ['no server name', { servername: '' }, 'server_name', /unrecognized name/],
  ['HTTP/2 alone', { ALPNProtocols: ['h2'] }, 'protocol', /no application protocol/],
  ['TLS 1.1 alone', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1' }, 'protocol', /protocol version|no protocols/],
] as const) {
  test(`closes a handshake with ${what} by an alert, and sends nothing`, async (t) => {
    const gateway = await startIntercepted(t);
    await assert.rejects(gateway.connectTls({ checkServerIdentity: () => undefined, ...options }), alert);
    if (what === 'TLS 1.1 alone') return;
    await eventually('the failure is counted', async () => (await failures(gateway, cause)) === 1);
    assertNothingSent(gateway);
  });
}

test('accepts a ClientHello that arrives byte by byte', async (t) => {
  const gateway = await startIntercepted(t);
  const relay = await startByteRelay(t, gateway.app.url);
  const connection = await gateway.connectTls({ via: relay });
  connection.send(get(gateway));
  assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 200 /);
});

test('resumes a session only for the same host', async (t) => {
  const gateway = await startIntercepted(t, {
    moreRoutes: [
      { name: 'docs', match: { host: 'docs.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' },
    ],
  });
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
    const first = await gateway.connectTls({ maxVersion });
    // TLS 1.3 sends a ticket after the handshake, TLS 1.2 during it.
    let ticket = first.socket.getSession();
    first.socket.on('session', (session) => {
      ticket = session;
    });
    first.send(get(gateway));
    await soon('the response', first.closed());
    assert.ok(ticket !== undefined);
    const again = await gateway.connectTls({ maxVersion, session: ticket });
    assert.equal(again.socket.isSessionReused(), true, maxVersion);
    again.send(get(gateway));
    assert.match(await soon('the response', again.closed()), /^HTTP\/1\.1 200 /);
    const other = { maxVersion, session: ticket, servername: 'docs.example.com' };
    await assert.rejects(gateway.connectTls(other), /unrecognized name/, maxVersion);
    const elsewhere = await gateway.connectTls({ ...other, authority: 'docs.example.com:443' });
    assert.equal(elsewhere.socket.isSessionReused(), false, maxVersion);
    elsewhere.socket.destroy();
  }
});

for (const [what, requestOf] of [
  ['another Host', (gateway) => get(gateway, '/mcp', 'docs.example.com')],
  ['the Host of another route', (gateway) => get(gateway, '/', 'docs.svc')],
  ['a Host below its own', (gateway) => get(gateway, '/mcp', `x.${INTERCEPTED}`)],
  ['two Hosts', (gateway) => get(gateway, '/mcp', INTERCEPTED, 'Host: docs.svc\r\n')],
  ['an absolute URL for another host', (gateway) => get(gateway, 'https://docs.svc/')],
  ['its own absolute URL and another Host', (gateway) => get(gateway, `https://${INTERCEPTED}/mcp`, 'docs.svc')],
  ['no Host', () => 'GET /mcp HTTP/1.0\r\n\r\n'],
] as [string, (gateway: InterceptedGateway) => string][]) {
  test(`returns 421 to a request with ${what} on an intercepted connection, and sends nothing`, async (t) => {
    const gateway = await startIntercepted(t, {
      moreRoutes: [{ name: 'docs', match: { host: 'docs.svc' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
    });
    const connection = await gateway.connectTls();
    connection.send(requestOf(gateway));
    const response = await soon('the response', connection.closed());
    assert.match(response, /^HTTP\/1\.1 421 /);
    assert.match(response, /"code":"ERR_MISDIRECTED_REQUEST"/);
    assertNothingSent(gateway);
  });
}

test('accepts a port in Host, and its own absolute URL', async (t) => {
  const gateway = await startIntercepted(t);
  for (const sent of [
    get(gateway, '/mcp', `${INTERCEPTED.toUpperCase()}:443`),
    get(gateway, `https://${INTERCEPTED}/mcp`),
  ]) {
    const connection = await gateway.connectTls();
    connection.send(sent);
    assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 200 /);
  }
});

test('host_header has no effect on an intercepted connection', async (t) => {
  const gateway = await startIntercepted(t, {
    top: { host_header: 'x-kagent-host' },
    moreRoutes: [{ name: 'docs', match: { host: 'docs.svc' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
  });
  const connection = await gateway.connectTls();
  connection.send(get(gateway, '/mcp', INTERCEPTED, 'X-Kagent-Host: docs.svc\r\n'));
  assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 200 /);
  assert.equal(gateway.upstream.requests.length, 1);
});

test('names the https URL of the resource in its challenge', async (t) => {
  const { connectTls } = await startIntercepted(t, {
    top: {
      authorization_servers: {
        local: { issuer: 'http://127.0.0.1:1', client_id: 'c', client_auth: { method: 'none' } },
      },
    },
  });
  const connection = await connectTls();
  connection.send(`GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nConnection: close\r\n\r\n`);
  const response = await soon('the response', connection.closed());
  assert.match(response, /^HTTP\/1\.1 401 /);
  assert.match(
    response,
    /resource_metadata="https:\/\/mcp\.example\.com\/\.well-known\/oauth-protected-resource\/mcp"/,
  );
});

test('counts a client that does not trust the certificate, and names its variable', async (t) => {
  const gateway = await startIntercepted(t);
  // Node verifies after the handshake, so the failure of this client has no alert.
  await assert.rejects(gateway.connectTls({ ca: createCertificateAuthority().cert }), /self-signed|unable to/);
  await eventually('the failure is counted', async () => (await failures(gateway, 'closed')) === 1);
  assert.match(gateway.app.logText(), /before its first request; it may lack NODE_EXTRA_CA_CERTS for Node/);
  assertNothingSent(gateway);
});

test('refuses a host that a reload added and the authority excludes, and never tunnels it', async (t) => {
  const gateway = await startIntercepted(t, { top: { forward_proxy: { connect: ['new.example.com:443'] } } });
  const added = {
    name: 'added',
    match: { host: 'new.example.com' },
    upstream: 'http://127.0.0.1:1',
    credential: 'none',
  };
  gateway.app.reloadTo({ ...gateway.config, routes: [...gateway.config.routes, added] });
  const options = { authority: 'new.example.com:443', servername: 'new.example.com' };
  await assert.rejects(gateway.connectTls(options), /access denied/);
  assert.equal(await failures(gateway, 'excluded'), 1);
  assert.match(gateway.app.logText(), /excludes this host; restart the pod to intercept it/);
});

test('terminates TLS to an address that a route names, which has no server name', async (t) => {
  const gateway = await startIntercepted(t, { route: { match: { host: '10.1.2.3', path: '/mcp' } } });
  const connection = await gateway.connectTls({ authority: '10.1.2.3:443', servername: '', host: '10.1.2.3' });
  assert.equal(connection.socket.getPeerCertificate().subjectaltname, 'IP Address:10.1.2.3');
  connection.send(get(gateway, '/mcp', '10.1.2.3'));
  assert.match(await soon('the response', connection.closed()), /^HTTP\/1\.1 200 /);
  await assert.rejects(gateway.connectTls({ authority: '10.1.2.3:443', servername: INTERCEPTED }), /unrecognized name/);
});

test('serves plain HTTP and refuses CONNECT inside a tunnel as without intercept', async (t) => {
  const gateway = await startIntercepted(t);
  const plain = await gateway.tunnel(`${INTERCEPTED}:80`);
  plain.send(get(gateway));
  assert.match(await soon('the response', plain.closed()), /HTTP\/1\.1 200 OK/);
  const secure = await gateway.connectTls();
  secure.send(`CONNECT ${INTERCEPTED}:443 HTTP/1.1\r\nHost: ${INTERCEPTED}\r\n\r\n`);
  assert.match(await soon('the response', secure.closed()), /^HTTP\/1\.1 403 /);
});

test('opens a WebSocket over TLS with the issued token', async (t) => {
  const backend = await startWebSocketServer();
  t.after(backend.close);
  const { app, ca, authorization, authorizationServer } = await startIntercepted(t, {
    route: { upstream: `${backend.url}/ws` },
  });
  const dispatcher = new ProxyAgent({ uri: app.url, requestTls: { ca } });
  t.after(() => dispatcher.close());
  const socket = new WebSocket(`wss://${INTERCEPTED}/mcp`, { dispatcher, headers: { authorization } });
  t.after(() => socket.close());
  const opened = new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve);
    socket.addEventListener('error', reject);
  });
  await soon('the WebSocket is open', opened);
  const reply = new Promise((resolve) => socket.addEventListener('message', ({ data }) => resolve(data)));
  socket.send('hello');
  assert.equal(await soon('the reply', reply), 'hello');
  assert.equal(backend.handshakes[0]?.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
});

test('closes malformed TLS by an alert', async (t) => {
  const gateway = await startIntercepted(t);
  for (const bytes of ['160301000501000001', '1603010000', '16030140ff', '160301000402000000']) {
    const connection = await gateway.tunnel();
    connection.send(Buffer.from(bytes.padEnd(40, '0'), 'hex'));
    const all = await soon(bytes, connection.closed());
    assert.deepEqual(Buffer.from(all.slice(ESTABLISHED.length), 'latin1').subarray(0, 2), Buffer.of(0x15, 3), bytes);
  }
});

test('ends bridged connections at shutdown', async (t) => {
  const gateway = await startIntercepted(t);
  const idle = await gateway.connectTls();
  const silent = await gateway.tunnel();
  silent.send(Buffer.from('160301', 'hex'));
  await soon('the app has stopped', gateway.app.stop());
  await soon('the clients see the end', Promise.all([idle.closed(), silent.closed()]));
});

test('tunnels to public names that a wildcard allows, and to no address, internal name or routed host', async (t) => {
  const app = await startTestApp(t, {
    routes: [{ name: 'r', match: { host: 'r.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' }],
    forward_proxy: { connect: ['*:1', '*.tools.svc:2', 'r.example.com:3'] },
  });
  const statusOf = async (target: string): Promise<string> => {
    const connection = await connectRaw(app.url);
    connection.send(`CONNECT ${target} HTTP/1.1\r\n\r\n`);
    const all = await soon(target, connection.until(/^HTTP\/1\.1 \d{3}/));
    connection.socket.destroy();
    return all.slice(9, 12);
  };
  // No such names exist: 502 says that the tunnel was allowed.
  for (const target of ['api.invalid:1', 'x.tools.svc:2', 'a.b.tools.svc:2'])
    assert.equal(await statusOf(target), '502', target);
  for (const target of [
    ...['127.0.0.1:1', '[::1]:1', '2130706433:1', '0x7f.1:1', '127.1:1', 'localhost:1', 'x.svc:1', 'api.invalid:2'],
    ...['tools.svc:2', 'xtools.svc:2', 'api.invalid..:1', 'a..invalid:1'],
  ]) {
    assert.equal(await statusOf(target), '403', target);
  }
  // A tunnel of plain HTTP, served inside.
  for (const target of ['r.example.com:1', 'r.example.com.:1', 'R.example.com:3'])
    assert.equal(await statusOf(target), '200', target);
  assert.equal(sumSamples(await app.metrics(), 'cambist_tunnels_total', {}), 0);
});

for (const [what, text] of [
  ['the beginning of a request', `GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}`],
  ['a refused request', 'GET / HTTP/1.1\r\nHost: elsewhere.example.com\r\n\r\n'],
] as const) {
  test(`closes the connection of an agent that sends ${what} and resets it at once`, async (t) => {
    const gateway = await startIntercepted(t);
    const { socket } = await gateway.tunnel();
    socket.removeAllListeners('data');
    const { send } = await secured(connect({ socket, ca: gateway.ca, servername: INTERCEPTED }));
    send(text);
    socket.resetAndDestroy();
    await eventually('the connection is closed', async () => {
      const metrics = await gateway.app.metrics();
      const requests = sumSamples(metrics, 'cambist_requests_in_flight');
      return requests + sumSamples(metrics, 'cambist_connections', { listener: 'listen' }) === 0;
    });
  });
}
