import assert from 'node:assert/strict';
import { once } from 'node:events';
import { Agent, request } from 'node:https';
import { json } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { createCertificateAuthority, listenerTls } from '../../harness/certificates.ts';
import { startGateway } from '../../harness/gateway.ts';
import { freePort } from '../../harness/http-server.ts';
import { temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { startServer } from '../../harness/server-process.ts';
import { envoy } from '../dataplanes/planes.ts';

const BILLING = 'spiffe://example.org/ns/team-a/sa/billing';
const SUPPORT = 'spiffe://example.org/ns/team-b/sa/support';
const PROXY = 'spiffe://example.org/ns/mesh/sa/gateway';

const authority = createCertificateAuthority();

/** An address of this machine. */
const socketAddress = (port: number) => ({ socket_address: { address: '127.0.0.1', port_value: port } });

/** A typed extension of Envoy's API. @param type without its package `envoy.extensions` */
const typed = (type: string, fields: object) => ({
  '@type': `type.googleapis.com/envoy.extensions.${type}`,
  ...fields,
});

/**
 * cambist behind Envoy, with mutual TLS on both sides.
 * @param details `forward_client_cert_details` of Envoy
 */
async function start(t: TestContext, details: string) {
  const folder = temporaryFolder(t);
  const write = writerInto(folder);
  const ca = write('ca.pem', authority.cert).file;
  const gateway = await startGateway(t, {
    route: { agents: ['billing'] },
    top: {
      listen: { address: '127.0.0.1:0', tls: listenerTls(folder, authority) },
      agents: {
        forwarded: { from: [PROXY] },
        known: { billing: { spiffe_id: BILLING }, support: { spiffe_id: SUPPORT } },
      },
    },
  });
  const port = await freePort();
  const server = authority.issueServer();
  const client = authority.issueClient({ hosts: [PROXY] });
  const pair = (name: string, { cert, key }: typeof server) => ({
    certificate_chain: { filename: write(`${name}.crt`, cert).file },
    private_key: { filename: write(`${name}.key`, key).file },
  });
  const tls = (kind: string, certificate: object) => ({
    name: 'envoy.transport_sockets.tls',
    typed_config: typed(`transport_sockets.tls.v3.${kind}TlsContext`, {
      common_tls_context: { tls_certificates: [certificate], validation_context: { trusted_ca: { filename: ca } } },
    }),
  });
  const manager = typed('filters.network.http_connection_manager.v3.HttpConnectionManager', {
    stat_prefix: 'agents',
    forward_client_cert_details: details,
    set_current_client_cert_details: { uri: true },
    route_config: {
      virtual_hosts: [
        { name: 'all', domains: ['*'], routes: [{ match: { prefix: '/' }, route: { cluster: 'cambist' } }] },
      ],
    },
    http_filters: [{ name: 'envoy.filters.http.router', typed_config: typed('filters.http.router.v3.Router', {}) }],
  });
  const listener = {
    address: socketAddress(port),
    filter_chains: [
      {
        transport_socket: tls('Downstream', pair('envoy', server)),
        filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }],
      },
    ],
  };
  const endpoint = { address: socketAddress(Number(new URL(gateway.app.url).port)) };
  const cluster = {
    name: 'cambist',
    connect_timeout: '5s',
    load_assignment: { cluster_name: 'cambist', endpoints: [{ lb_endpoints: [{ endpoint }] }] },
    transport_socket: tls('Upstream', pair('client', client)),
  };
  const admin = await freePort();
  const bootstrap = {
    admin: { address: socketAddress(admin) },
    static_resources: { listeners: [listener], clusters: [cluster] },
  };
  const [command, ...args] = await envoy.prepare({ text: JSON.stringify(bootstrap), folder, port });
  const readyUrl = `http://127.0.0.1:${admin}/ready`;
  t.after((await startServer({ command, args, cwd: folder, readyUrl })).close);

  /** Sends a request of a client to Envoy. @returns the status and the error code */
  async function get(id: string | undefined, forged?: string) {
    const agent = new Agent({ ca: authority.cert, ...(id !== undefined && authority.issueClient({ hosts: [id] })) });
    const headers = {
      authorization: gateway.authorization,
      ...(forged !== undefined && { 'x-forwarded-client-cert': forged }),
    };
    const sent = request(`https://127.0.0.1:${port}/github`, { agent, headers }).end();
    const [response] = await once(sent, 'response');
    agent.destroy();
    const { code } = (await json(response)) as { readonly code?: string };
    return [response.statusCode, code];
  }
  return { ...gateway, get };
}

const OK = [200, undefined];
const UNKNOWN = [401, 'ERR_AGENT_UNKNOWN'];

test('knows the agents behind an Envoy that replaces the header', async (t) => {
  const { get, upstream, app } = await start(t, 'SANITIZE_SET');
  assert.deepEqual(await get(BILLING), OK);
  assert.deepEqual(await get(SUPPORT), [403, 'ERR_AGENT_NOT_ALLOWED']);
  assert.deepEqual(await get(BILLING, `URI=${SUPPORT}`), OK);
  assert.deepEqual(await get(SUPPORT, `URI=${BILLING}`), [403, 'ERR_AGENT_NOT_ALLOWED']);
  for (const id of [undefined, PROXY, BILLING.replace('example.org', 'example.com')]) {
    assert.deepEqual(await get(id, `URI=${BILLING}`), UNKNOWN, id);
  }
  assert.deepEqual(
    upstream.requests.map(({ headers }) => headers['x-forwarded-client-cert']),
    [undefined, undefined],
  );
  assert.match(app.logText(), /"agent":"support"/);
});

test('refuses a header that an Envoy appended to, and one that it passed on', async (t) => {
  const { get, upstream } = await start(t, 'APPEND_FORWARD');
  assert.deepEqual(await get(BILLING), OK);
  for (const forged of [`URI=${BILLING}`, `URI=${SUPPORT}`, `Subject="`, ',', `Hash=ab;URI="${BILLING}`]) {
    assert.deepEqual(await get(BILLING, forged), UNKNOWN, forged);
  }
  assert.equal(upstream.requests.length, 1);
});
