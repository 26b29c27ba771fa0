import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect, type SecureContext, TLSSocket } from 'node:tls';
import { createHostCertificates } from '../../../src/intercept/host-certificates.ts';
import { createAuthority } from '../../../src/transport/certificates.ts';
import { listen } from '../../harness/http-server.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = Date.now();

const lifetime = { notBefore: new Date(NOW_MS - HOUR_MS), notAfter: new Date(NOW_MS + 48 * HOUR_MS) };
const authority = createAuthority({ commonName: 'root', ...lifetime });

/** The certificate that a client with this authority accepts for a host. @throws {Error} where it refuses it */
async function certificateFor(t: TestContext, secureContext: SecureContext, host: string) {
  const client = await connected(t, secureContext, host);
  return new X509Certificate(client.getPeerCertificate().raw);
}

/** The cipher that a client with these ciphers gets. */
async function cipherFor(t: TestContext, secureContext: SecureContext, ciphers: string): Promise<string> {
  const client = await connected(t, secureContext, 'mcp.example.com', ciphers);
  return client.getCipher().name;
}

async function connected(t: TestContext, secureContext: SecureContext, host: string, ciphers?: string) {
  const server = createServer((socket) => {
    new TLSSocket(socket, { isServer: true, secureContext }).on('error', () => {});
  });
  const { port } = await listen(server);
  t.after(() => server.close());
  const servername = host.includes(':') ? '' : host;
  const client = connect({
    port,
    host: '127.0.0.1',
    ca: authority.cert,
    servername,
    checkServerIdentity: () => undefined,
    ...(ciphers !== undefined && { ciphers }),
  });
  t.after(() => client.destroy());
  await new Promise((resolve, reject) => client.once('secureConnect', resolve).once('error', reject));
  return client;
}

test('prefers AES-128 to AES-256, and accepts a client that has AES-256 alone', async (t) => {
  const secureContext = createHostCertificates(authority).contextFor('mcp.example.com');
  assert.equal(
    await cipherFor(t, secureContext, 'TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256'),
    'TLS_AES_128_GCM_SHA256',
  );
  assert.equal(await cipherFor(t, secureContext, 'TLS_AES_256_GCM_SHA384'), 'TLS_AES_256_GCM_SHA384');
});

test('makes a certificate for a name, valid for a day that began an hour ago', async (t) => {
  const { contextFor } = createHostCertificates(authority, { nowMs: () => NOW_MS });
  const certificate = await certificateFor(t, contextFor('mcp.example.com'), 'mcp.example.com');
  assert.equal(certificate.subjectAltName, 'DNS:mcp.example.com');
  assert.equal(certificate.checkHost('other.example.com'), undefined);
  const [from, until] = [Date.parse(certificate.validFrom), Date.parse(certificate.validTo)];
  assert.equal(until - from, 24 * HOUR_MS);
  assert.equal(Math.floor((NOW_MS - from) / 60_000), 60);
  assert.equal(certificate.ca, false);
});

test('makes a certificate for an address, as such', async (t) => {
  const { contextFor } = createHostCertificates(authority);
  const certificate = await certificateFor(t, contextFor('2001:db8::1'), '2001:db8::1');
  assert.equal(certificate.checkIP('2001:db8::1'), '2001:db8::1');
  assert.match(certificate.subjectAltName ?? '', /^IP Address:/);
});

test('makes the certificate of a host once, and of each host its own', () => {
  const { contextFor } = createHostCertificates(authority);
  assert.equal(contextFor('a.example.com'), contextFor('a.example.com'));
  assert.notEqual(contextFor('a.example.com'), contextFor('b.example.com'));
});

test('makes another certificate after half a lifetime, or if the clock is set to before the certificate', () => {
  let nowMs = NOW_MS;
  const { contextFor } = createHostCertificates(authority, { nowMs: () => nowMs });
  const first = contextFor('a.example.com');
  for (const reusedAtMs of [-HOUR_MS, 12 * HOUR_MS - 1]) {
    nowMs = NOW_MS + reusedAtMs;
    assert.equal(contextFor('a.example.com'), first);
  }
  nowMs = NOW_MS + 12 * HOUR_MS;
  const second = contextFor('a.example.com');
  assert.notEqual(second, first);
  nowMs = NOW_MS + 11 * HOUR_MS - 1;
  assert.notEqual(contextFor('a.example.com'), second);
});
