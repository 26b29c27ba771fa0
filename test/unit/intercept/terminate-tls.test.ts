import assert from 'node:assert/strict';
import { connect, createServer, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { causeOf } from '../../../src/intercept/handshake-failure.ts';
import { createHostCertificates, type HostCertificates } from '../../../src/intercept/host-certificates.ts';
import { createTlsBridge } from '../../../src/intercept/terminate-tls.ts';
import type { HandshakeFailure } from '../../../src/observability/proxy-observer.ts';
import { ARRIVAL, type Arrived, setArrival } from '../../../src/proxy/arrival.ts';
import { createAuthority } from '../../../src/transport/certificates.ts';
import { eventually, soon } from '../../harness/eventually.ts';
import { serve } from '../../harness/http-server.ts';
import { secured } from '../../harness/intercepted.ts';

const HOST = 'mcp.example.com';
const HOUR_MS = 3_600_000;
const lifetime = { notBefore: new Date(Date.now() - HOUR_MS), notAfter: new Date(Date.now() + 48 * HOUR_MS) };
const authority = createAuthority({ commonName: 'root', ...lifetime });

interface Options {
  readonly host?: string;
  /** The name in a ClientHello that was read already. */
  readonly serverName?: string;
  readonly permits?: (host: string) => boolean;
  readonly certificates?: HostCertificates;
}

/** A server behind a bridge. */
async function startBridge(
  t: TestContext,
  { host = HOST, serverName, permits = () => true, certificates = createHostCertificates(authority) }: Options = {},
) {
  const failures: { host: string | undefined; cause: HandshakeFailure }[] = [];
  const served: TLSSocket[] = [];
  const bridge = createTlsBridge({
    certificates,
    permits,
    failed(socket, of, cause) {
      failures.push({ host: of, cause });
      socket.destroy();
    },
  });
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    const arrival = { host, ...(serverName !== undefined && { serverName }) };
    bridge.accept(socket, arrival, (secure) => {
      served.push(secure);
      secure.on('error', () => {}).on('end', () => secure.end());
      secure.resume();
    });
  });
  const { port } = await serve(t, server);
  return { port, failures, served, sockets };
}

/** @throws {Error} where the handshake fails */
function shake(t: TestContext, port: number, servername: string, more = {}) {
  const client = connectTls({ port, host: '127.0.0.1', ca: authority.cert, servername, ...more });
  t.after(() => client.destroy());
  return secured(client);
}

const causesOf = ({ failures }: { failures: readonly { cause: HandshakeFailure }[] }) =>
  failures.map(({ cause }) => cause);

test('refuses another name than that of the ClientHello that was read before', async (t) => {
  const bridge = await startBridge(t, { serverName: HOST });
  const client = await shake(t, bridge.port, 'other.example.com', { checkServerIdentity: () => undefined });
  await soon('the connection is closed', client.closed());
  assert.deepEqual(causesOf(bridge), ['server_name']);
  assert.equal(bridge.served.length, 0);
});

for (const [what, servername, options, cause] of [
  ['names another host', 'other.example.com', {}, 'server_name'],
  ['names no host', '', {}, 'server_name'],
  ['names a host where an address is expected', HOST, { host: '10.0.0.1' }, 'server_name'],
  ['named an address when it was read already', '', { host: '10.0.0.1', serverName: '10.0.0.1' }, 'server_name'],
  ['names a host that the authority may not sign for', HOST, { permits: () => false }, 'excluded'],
] as const) {
  test(`refuses a handshake that ${what}, before a certificate is made`, async (t) => {
    const certificates = { contextFor: () => assert.fail('a certificate is made') };
    const bridge = await startBridge(t, { ...options, certificates });
    await assert.rejects(shake(t, bridge.port, servername, { checkServerIdentity: () => undefined }));
    const { host } = { host: HOST, ...options };
    assert.deepEqual(bridge.failures, [{ host, cause }]);
    assert.equal(bridge.served.length, 0);
  });
}

test('reports a certificate that cannot be signed', async (t) => {
  const certificates = { contextFor: () => assert.fail('the key cannot sign') };
  const bridge = await startBridge(t, { certificates });
  await assert.rejects(shake(t, bridge.port, HOST));
  assert.deepEqual(causesOf(bridge), ['internal']);
});

for (const [when, bytes] of [
  ['before its first byte', ''],
  ['inside its ClientHello', '\x16\x03\x01\x01\x00\x01'],
] as const) {
  test(`reports a client that leaves ${when}, once`, async (t) => {
    const bridge = await startBridge(t);
    const client = connect({ port: bridge.port, host: '127.0.0.1' }).on('error', () => {});
    client.end(Buffer.from(bytes, 'latin1'));
    await eventually('it is reported', () => bridge.failures.length > 0);
    await eventually('the connection is closed', () => [...bridge.sockets].every(({ destroyed }) => destroyed));
    assert.deepEqual(causesOf(bridge), ['closed']);
  });
}

test('reports a client that leaves after the handshake without a request, and none that had one', async (t) => {
  const bridge = await startBridge(t);
  for (const isUsed of [false, true]) {
    const client = await shake(t, bridge.port, HOST);
    await eventually('it is served', () => bridge.served.length === (isUsed ? 2 : 1));
    const secure = bridge.served.at(-1) as TLSSocket;
    setArrival(secure, 'proxy', HOST);
    const { [ARRIVAL]: arrival } = secure as Arrived;
    if (arrival !== undefined) arrival.isUsed = isUsed;
    client.socket.destroy();
    await eventually('the connection is closed', () => secure.destroyed);
  }
  await eventually('one is reported', () => bridge.failures.length > 0);
  assert.deepEqual(causesOf(bridge), ['closed']);
});

test('gives up a client that never finishes its handshake', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const bridge = await startBridge(t);
  const client = connect({ port: bridge.port, host: '127.0.0.1' }).on('error', () => {});
  t.after(() => client.destroy());
  client.write(Buffer.of(0x16, 3, 1));
  while (bridge.sockets.size === 0) await new Promise((resolve) => setImmediate(resolve));
  t.mock.timers.tick(9_999);
  assert.deepEqual(causesOf(bridge), []);
  t.mock.timers.tick(1);
  assert.deepEqual(causesOf(bridge), ['timeout']);
});

const errorWith = (code: string): Error => Object.assign(new Error('failed'), { code });

for (const [code, cause] of [
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'untrusted'],
  ['ERR_SSL_SSLV3_ALERT_BAD_CERTIFICATE', 'untrusted'],
  ['ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE', 'untrusted'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_UNKNOWN', 'untrusted'],
  ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'untrusted'],
  ['ERR_SSL_NO_SHARED_CIPHER', 'protocol'],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'protocol'],
  ['ECONNRESET', 'closed'],
  ['EPIPE', 'closed'],
] as const) {
  test(`takes ${code} for ${cause}`, () => assert.equal(causeOf(errorWith(code)), cause));
}

test('takes a connection that ends without an error for closed', () => assert.equal(causeOf(undefined), 'closed'));
