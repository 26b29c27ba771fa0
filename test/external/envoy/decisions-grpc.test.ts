import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { startGateway } from '../../harness/gateway.ts';
import { call } from '../../harness/http-call.ts';
import { freePort } from '../../harness/http-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { socketAddress, startEnvoy, typed } from './envoy.ts';

const SECRET = 'a-secret-of-the-data-plane';
const TOOLS = { path: '/tools', mcp_method: 'tools/call', mcp_name: 'read' };

function cluster(name: string, port: number, isHttp2: boolean) {
  const options = {
    '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
    explicit_http_config: { http2_protocol_options: {} },
  };
  return {
    name,
    connect_timeout: '5s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: socketAddress(port) } }] }],
    },
    ...(isHttp2 && {
      typed_extension_protocol_options: { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': options },
    }),
  };
}

/** A backend behind Envoy, which asks cambist by gRPC. */
async function start(t: TestContext, { decisions = {}, filter = {}, secret = SECRET, health = {} } = {}) {
  const file = join(temporaryFolder(t), 'secret');
  writeFileSync(file, SECRET);
  const gateway = await startGateway(t, {
    top: { decisions: { grpc: { listen: '127.0.0.1:0', secret: { file } }, ...decisions } },
    moreRoutes: [{ name: 'reads', match: TOOLS, upstream: 'http://127.0.0.1:1/mcp', scope: 'read' }],
  });
  const port = await freePort();
  const extAuthz = 'filters.http.ext_authz.v3.ExtAuthz';
  const manager = typed('filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'agents',
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'backend' } }],
          typed_per_filter_config: {
            'envoy.filters.http.ext_authz': typed(`${extAuthz}PerRoute`, {
              check_settings: { context_extensions: { route: 'github' } },
            }),
          },
        },
      ],
    },
    http_filters: [
      {
        name: 'envoy.filters.http.ext_authz',
        typed_config: typed(extAuthz, {
          transport_api_version: 'V3',
          grpc_service: {
            envoy_grpc: { cluster_name: 'cambist' },
            timeout: '10s',
            initial_metadata: [{ key: 'x-cambist-decision-secret', value: secret }],
          },
          status_on_error: { code: 'ServiceUnavailable' },
          encode_raw_headers: true,
          ...filter,
        }),
      },
      { name: 'envoy.filters.http.router', typed_config: typed('filters.http.router.v3.Router', {}) },
    ],
  });
  await startEnvoy(t, {
    listeners: [
      {
        address: socketAddress(port),
        filter_chains: [
          { filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] },
        ],
      },
    ],
    clusters: [
      cluster('backend', Number(new URL(gateway.upstream.url).port), false),
      { ...cluster('cambist', Number(new URL(gateway.app.decisionsByGrpc ?? '').port), true), ...health },
    ],
  });
  const ask = (headers: readonly string[] = [], body?: string | Buffer, path = '/github/x') =>
    call(`http://127.0.0.1:${port}`, {
      path,
      method: body === undefined ? 'GET' : 'POST',
      headers: ['host', 'mcp.example.com', ...headers],
      ...(body !== undefined && { body }),
    });
  return { ...gateway, ask };
}

for (const isRaw of [true, false]) {
  test(`Envoy replaces the caller's token, with encode_raw_headers: ${isRaw}`, async (t) => {
    const { ask, authorization, subjectToken, authorizationServer, upstream, app } = await start(t, {
      filter: { encode_raw_headers: isRaw },
    });
    const own = ['authorization', authorization];
    for (const _ of [1, 2]) {
      const copies = ['x-copy', `a ${subjectToken}`, 'x-http-method-override', 'DELETE', 'dpop', 'proof'];
      assert.equal((await ask([...own, ...copies])).status, 200);
    }
    assert.equal(authorizationServer.requests.length, 1);
    for (const { headers } of upstream.requests) {
      assert.equal(headers.authorization, `Bearer ${authorizationServer.requests[0]?.issued}`);
      for (const name of ['x-copy', 'x-http-method-override', 'dpop']) assert.equal(headers[name], undefined, name);
    }
    const refused = await ask();
    assert.equal(refused.status, 401);
    assert.match(String(refused.headers['www-authenticate']), /^Bearer /);
    assert.match(refused.text, /ERR_SUBJECT_TOKEN_MISSING/);
    assert.equal(refused.headers['content-type'], 'application/problem+json');
    assert.ok([400, 401].includes((await ask([...own, ...own])).status));
    assert.equal(upstream.requests.length, 2);
    assert.ok(!JSON.stringify(upstream.requests.map(({ headers }) => headers)).includes(subjectToken));
    await app.stop();
    assert.equal((await ask(own)).status, 503);
    assert.equal(upstream.requests.length, 2);
  });
}

for (const [service, status] of [
  ['envoy.service.auth.v3.Authorization', 200],
  ['other', 503],
] as const) {
  test(`Envoy asks about the health of ${service}, and then has ${status}`, async (t) => {
    const check = { timeout: '5s', interval: '0.1s', unhealthy_threshold: 1, healthy_threshold: 1 };
    const { ask, authorization } = await start(t, {
      health: {
        health_checks: [{ ...check, grpc_health_check: { service_name: service } }],
        common_lb_config: { healthy_panic_threshold: { value: 0 } },
      },
    });
    // Until the first check, Envoy does not use cambist.
    await eventually('the status', async () => (await ask(['authorization', authorization])).status === status);
  });
}

test('Envoy without the secret passes nothing', async (t) => {
  const { ask, authorization, upstream } = await start(t, { secret: 'wrong' });
  assert.equal((await ask(['authorization', authorization])).status, 503);
  assert.equal(upstream.requests.length, 0);
});

for (const [name, body, status] of [
  ['as bytes', { max_request_bytes: 4096, pack_as_bytes: true }, 200],
  ['as text', { max_request_bytes: 4096 }, 403],
  ['in part', { max_request_bytes: 16, pack_as_bytes: true, allow_partial_message: true }, 413],
] as const) {
  test(`a route by message with bodies ${name}: ${status}`, async (t) => {
    const { ask, authorization, upstream } = await start(t, {
      decisions: { routes_by: 'match' },
      filter: { with_request_body: body },
    });
    const message = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'read' } });
    const headers = ['authorization', authorization, 'content-type', 'application/json'];
    const sent = [...headers, 'content-length', String(message.length)];
    assert.equal((await ask(sent, message, '/tools')).status, status);
    assert.equal(upstream.requests.length, status === 200 ? 1 : 0);
  });
}
