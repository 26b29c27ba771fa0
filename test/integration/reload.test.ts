import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StatusReport } from '../../src/admin/status-report.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { type GatewayConfig, startGateway } from '../harness/gateway.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { delayed, respond } from '../harness/upstream-handlers.ts';

const withRoute = (config: GatewayConfig, change: Record<string, unknown>): GatewayConfig => ({
  ...config,
  routes: config.routes.map((route) => ({ ...route, ...change })),
});

test('applies a new config to the next request, and finishes a request in flight on the previous config', async (t) => {
  const { app, upstream, authorization, config } = await startGateway(t, {
    handler: delayed(300, respond(200, 'old')),
  });
  const other = await startFakeUpstream(respond(200, 'new'));
  t.after(other.close);
  const headers = { authorization };
  const inFlight = call(`${app.url}/github`, { headers });
  await eventually('the old upstream has the request', () => upstream.requests.length === 1);
  app.reloadTo(withRoute(config, { upstream: other.url }));
  assert.equal((await call(`${app.url}/github`, { headers })).text, 'new');
  assert.equal((await inFlight).text, 'old');
});

test('keeps the tokens of an unchanged route, and drops those of a route whose tokens would differ', async (t) => {
  const { app, authorizationServer, authorization, config } = await startGateway(t);
  const exchangesAfter = async (next: GatewayConfig): Promise<number> => {
    app.reloadTo(next);
    assert.equal((await call(`${app.url}/github`, { headers: { authorization } })).status, 200);
    return authorizationServer.requests.length;
  };
  assert.equal(await exchangesAfter(config), 1);
  assert.equal(await exchangesAfter({ ...config, log: { level: 'debug' } }), 1);
  assert.equal(await exchangesAfter(withRoute(config, { timeouts: { connect: '1s' } })), 1);
  assert.equal(await exchangesAfter(withRoute(config, { scope: 'repo:read' })), 2);
  assert.equal(authorizationServer.requests.at(-1)?.form.get('scope'), 'repo:read');
});

test('applies a lower max_age to cached tokens', async (t) => {
  const { app, authorizationServer, authorization, config } = await startGateway(t);
  const ask = () => call(`${app.url}/github`, { headers: { authorization } });
  await ask();
  app.reloadTo({ ...config, cache: { max_age: '1s' } });
  await eventually('the token is too old', async () => {
    assert.equal((await ask()).status, 200);
    return authorizationServer.requests.length === 2;
  });
});

test('keeps connections to upstreams over a reload', async (t) => {
  const ports = new Set<number | undefined>();
  const { app, authorization, config } = await startGateway(t, {
    async handler(received, response) {
      ports.add(received.message.socket.remotePort);
      await respond(200, 'x')(received, response);
    },
  });
  for (let i = 0; i < 3; i += 1) {
    await call(`${app.url}/github`, { headers: { authorization } });
    app.reloadTo({ ...config, cache: { max_age: `${i + 1}m` } });
  }
  assert.equal(ports.size, 1);
});

test('exposes the series of a new route at 0, and keeps those of a removed route', async (t) => {
  const { app, authorization, config } = await startGateway(t);
  await call(`${app.url}/github`, { headers: { authorization } });
  app.reloadTo(withRoute(config, { name: 'other' }));
  const text = await app.metrics();
  assert.match(text, /^cambist_requests_in_flight\{route="other"\} 0$/m);
  assert.equal(sumSamples(text, 'cambist_requests_total', { route: 'github', outcome: 'forwarded' }), 1);
});

test('ignores failures of requests on a previous config in the state of the authorization server', async (t) => {
  const { app, authorizationServer, authorization, config } = await startGateway(t);
  const other = await startFakeAuthorizationServer();
  t.after(other.close);
  authorizationServer.behaviour = { kind: 'response', status: 503 };
  const head = `POST /github HTTP/1.1\r\nHost: localhost\r\nAuthorization: ${authorization}\r\nContent-Length: 2\r\n`;
  const callers = await Promise.all(['a', 'b', 'c', 'd'].map(() => connectRaw(app.url)));
  for (const [index, caller] of callers.entries()) caller.send(`${head}Mcp-Session-Id: ${index}\r\n\r\n1`);
  const inFlight = async () => sumSamples(await app.metrics(), 'cambist_requests_in_flight');
  await eventually('all requests are in flight', async () => (await inFlight()) === callers.length);
  const server = { ...config.authorization_servers.local, token_endpoint: other.tokenEndpoint };
  app.reloadTo({ ...config, authorization_servers: { local: server } });
  for (const caller of callers) {
    caller.send('2');
    await caller.until('HTTP/1.1 503');
  }
  assert.ok(authorizationServer.requests.length >= 3);
  assert.equal(sumSamples(await app.metrics(), 'cambist_authorization_server_available'), 1);
  const status = (await (await fetch(`${app.admin}/status.json`)).json()) as StatusReport;
  assert.equal(status.authorization_servers[0]?.state, 'available');
});
