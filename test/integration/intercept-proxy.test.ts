import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { ProxyAgent, request, WebSocket } from 'undici';
import { startTestApp } from '../harness/app.ts';
import { soon } from '../harness/eventually.ts';
import {
  assertNothingSent,
  failures,
  get,
  INTERCEPTED,
  type InterceptedGateway,
  openTunnel,
  startIntercepted,
} from '../harness/intercepted.ts';
import { startWebSocketServer } from '../harness/web-socket-server.ts';

/** A route to a backend that no test reaches. */
const toHost = (name: string, host: string) => {
  return { name, match: { host }, upstream: 'http://127.0.0.1:1', credential: 'none' };
};

test('exchanges the token of requests to https URLs, with an unchanged proxy client', async (t) => {
  const gateway = await startIntercepted(t);
  const { app, upstream, authorization, authorizationServer, ca } = gateway;
  const dispatcher = new ProxyAgent({ uri: app.url, requestTls: { ca } });
  t.after(() => dispatcher.close());
  for (const path of ['/mcp/a?x=1', '/mcp/b']) {
    const options = { dispatcher, headers: { authorization } };
    const { statusCode, body } = await request(`https://${INTERCEPTED}${path}`, options);
    assert.equal(statusCode, 200);
    assert.equal(((await body.json()) as { url: string }).url, path);
  }
  const [{ issued } = {}, ...others] = authorizationServer.requests;
  assert.deepEqual(others, []);
  for (const { authorization: bearers } of upstream.requests) assert.deepEqual(bearers, [`Bearer ${issued}`]);
  assert.equal(await app.metric('cambist_arrivals_total', { route: 'github', way_in: 'proxy' }), 2);
  assert.equal(await app.metric('cambist_arrivals_total', { route: 'github', way_in: 'base_url' }), 0);
  const logged = (await app.logged('request', 2)).map(({ way_in: way, route }) => `${way} ${route}`);
  assert.deepEqual(logged, ['proxy github', 'proxy github']);
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
      moreRoutes: [toHost('docs', 'docs.svc')],
    });
    const response = await (await gateway.connectTls()).ask(requestOf(gateway));
    assert.match(response, /^HTTP\/1\.1 421 [\s\S]*"code":"ERR_MISDIRECTED_REQUEST"/);
    assertNothingSent(gateway);
  });
}

test('accepts a port in Host, and its own absolute URL', async (t) => {
  const gateway = await startIntercepted(t);
  for (const sent of [
    get(gateway, '/mcp', `${INTERCEPTED.toUpperCase()}:443`),
    get(gateway, `https://${INTERCEPTED}/mcp`),
  ]) {
    assert.match(await (await gateway.connectTls()).ask(sent), /^HTTP\/1\.1 200 /);
  }
});

test('host_header has no effect on an intercepted connection', async (t) => {
  const gateway = await startIntercepted(t, {
    top: { host_header: 'x-kagent-host' },
    moreRoutes: [toHost('docs', 'docs.svc')],
  });
  const connection = await gateway.connectTls();
  const sent = get(gateway, '/mcp', INTERCEPTED, 'X-Kagent-Host: docs.svc\r\n');
  assert.match(await connection.ask(sent), /^HTTP\/1\.1 200 /);
  assert.equal(gateway.upstream.requests.length, 1);
});

test('names the https URL of the resource in its challenge', async (t) => {
  const local = { issuer: 'http://127.0.0.1:1', client_id: 'c', client_auth: { method: 'none' } };
  const { connectTls } = await startIntercepted(t, { top: { authorization_servers: { local } } });
  const connection = await connectTls();
  const response = await connection.ask(`GET /mcp HTTP/1.1\r\nHost: ${INTERCEPTED}\r\nConnection: close\r\n\r\n`);
  assert.match(response, /^HTTP\/1\.1 401 /);
  assert.ok(response.includes(`resource_metadata="https://${INTERCEPTED}/.well-known/oauth-protected-resource/mcp"`));
});

test('reports and refuses a host that a reload added and the authority excludes, and never tunnels it', async (t) => {
  const gateway = await startIntercepted(t, { top: { forward_proxy: { connect: ['new.example.com:443'] } } });
  const added = toHost('added', 'new.example.com');
  const { app, config } = gateway;
  const waiting = ['routes.added.match.host'];
  assert.deepEqual(app.reloadTo({ ...config, routes: [...config.routes, added] }), waiting);
  assert.deepEqual((await app.status()).config.waits_for_restart, waiting);
  const line = app.logs.find(({ msg }) => String(msg).includes('excludes these hosts'));
  assert.deepEqual(line?.hosts, ['new.example.com']);
  const options = { authority: 'new.example.com:443', servername: 'new.example.com' };
  await assert.rejects(gateway.connectTls(options), /access denied/);
  assert.equal(await failures(gateway, 'excluded'), 1);
  assert.match(app.logText(), /excludes this host; restart the pod to intercept it/);
  assert.deepEqual(app.reloadTo(config), []);
  assert.deepEqual(app.reloadTo({ ...config, intercept: { trust_dir: `${gateway.trustDir}/other` } }), ['intercept']);
});

test('terminates TLS to an address that a route names, which has no server name', async (t) => {
  const gateway = await startIntercepted(t, { route: { match: { host: '10.1.2.3', path: '/mcp' } } });
  const connection = await gateway.connectTls({ authority: '10.1.2.3:443', servername: '', host: '10.1.2.3' });
  assert.equal(connection.socket.getPeerCertificate().subjectaltname, 'IP Address:10.1.2.3');
  assert.match(await connection.ask(get(gateway, '/mcp', '10.1.2.3')), /^HTTP\/1\.1 200 /);
  await assert.rejects(gateway.connectTls({ authority: '10.1.2.3:443', servername: INTERCEPTED }), /unrecognized name/);
});

test('serves plain HTTP and refuses CONNECT inside a tunnel as without intercept', async (t) => {
  const gateway = await startIntercepted(t);
  const plain = await gateway.tunnel(`${INTERCEPTED}:80`);
  assert.match(await plain.ask(get(gateway)), /HTTP\/1\.1 200 OK/);
  const secure = await gateway.connectTls();
  const connect = `CONNECT ${INTERCEPTED}:443 HTTP/1.1\r\nHost: ${INTERCEPTED}\r\n\r\n`;
  assert.match(await secure.ask(connect), /^HTTP\/1\.1 403 /);
});

test('opens a WebSocket over TLS with the issued token', async (t) => {
  const backend = await startWebSocketServer(t);
  const { app, ca, authorization, authorizationServer } = await startIntercepted(t, {
    route: { upstream: `${backend.url}/ws` },
  });
  const dispatcher = new ProxyAgent({ uri: app.url, requestTls: { ca } });
  t.after(() => dispatcher.close());
  const socket = new WebSocket(`wss://${INTERCEPTED}/mcp`, { dispatcher, headers: { authorization } });
  t.after(() => socket.close());
  await soon('the WebSocket is open', once(socket, 'open'));
  socket.send('hello');
  const [reply] = await soon('the reply', once(socket, 'message'));
  assert.equal((reply as { data: unknown }).data, 'hello');
  assert.equal(backend.handshakes[0]?.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
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
    routes: [toHost('r', 'r.example.com')],
    forward_proxy: { connect: ['*:1', '*.tools.svc:2', 'r.example.com:3'] },
  });
  const statusOf = async (target: string): Promise<string> => {
    const connection = await openTunnel(app.url, target);
    connection.socket.destroy();
    return connection.received().slice(9, 12);
  };
  for (const [status, targets] of [
    // No such names exist: 502 says that the tunnel was allowed.
    ['502', ['api.invalid:1', 'x.tools.svc:2']],
    ['403', ['127.0.0.1:1', '[::1]:1', '2130706433:1', 'localhost:1', 'x.svc:1', 'api.invalid:2', 'tools.svc:2']],
    // A tunnel of plain HTTP, served inside.
    ['200', ['r.example.com:1', 'r.example.com.:1', 'R.example.com:3']],
  ] as const) {
    for (const target of targets) assert.equal(await statusOf(target), status, target);
  }
  assert.equal(await app.metric('cambist_tunnels_total'), 0);
});
