import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { isIP } from 'node:net';
import { type TestContext, test } from 'node:test';
import { connect, createServer } from 'node:tls';
import {
  type CertificateAuthority,
  createAuthority,
  exportKey,
  generateKeys,
  issueCertificate,
} from '../../../src/transport/certificates.ts';
import { rememberNames } from '../../../src/transport/known-names.ts';
import { serve } from '../../harness/http-server.ts';

const HOUR_MS = 3_600_000;
const LIFETIME = { notBefore: new Date(Date.now() - HOUR_MS), notAfter: new Date(Date.now() + HOUR_MS) };

function issueServer(authority: CertificateAuthority, hosts: readonly string[]) {
  const { publicKey, privateKey } = generateKeys();
  const request = { commonName: 'a server', hosts, purpose: 'server', publicKey, ...LIFETIME } as const;
  return { cert: issueCertificate(authority, request), key: exportKey(privateKey) };
}

test('issues a server certificate that its authority signed, for its hosts and its key', () => {
  const authority = createAuthority({ commonName: 'test CA', ...LIFETIME });
  const { cert, key } = issueServer(authority, ['a.example.com', 'b.example.com', '10.0.0.1', '::1']);
  const [ca, server] = [new X509Certificate(authority.cert), new X509Certificate(cert)];
  assert.ok(ca.ca && !server.ca);
  assert.ok(ca.verify(ca.publicKey) && server.verify(ca.publicKey));
  assert.ok(server.checkIssued(ca));
  assert.ok(server.checkPrivateKey(createPrivateKey(key)));
  assert.equal(server.checkHost('b.example.com'), 'b.example.com');
  assert.equal(server.checkHost('c.example.com'), undefined);
  assert.equal(server.checkIP('10.0.0.1'), '10.0.0.1');
  assert.equal(server.checkIP('::1'), '::1');
  assert.deepEqual(server.keyUsage, ['1.3.6.1.5.5.7.3.1']);
  assert.equal(server.subject, 'CN=a server');
  assert.equal(server.issuer, 'CN=test CA');
});

test('a certificate is valid for the lifetime that was given, to the second', () => {
  const lifetime = { notBefore: new Date('2049-12-31T23:59:59Z'), notAfter: new Date('2050-01-01T00:00:01Z') };
  const { validFrom, validTo } = new X509Certificate(createAuthority({ commonName: 'CA', ...lifetime }).cert);
  assert.deepEqual([new Date(validFrom), new Date(validTo)], [lifetime.notBefore, lifetime.notAfter]);
});

test('every authority and certificate has its own key and serial number', () => {
  const made = [1, 2].map(() => {
    const authority = createAuthority({ commonName: 'the same name', ...LIFETIME });
    return [authority.cert, issueServer(authority, ['a']).cert].map((cert) => new X509Certificate(cert));
  });
  const certificates = made.flat();
  assert.equal(new Set(certificates.map(({ serialNumber }) => serialNumber)).size, 4);
  const keys = certificates.map(({ publicKey }) => publicKey.export({ type: 'spki', format: 'der' }).toString('hex'));
  assert.equal(new Set(keys).size, 4);
  for (const { serialNumber } of certificates) assert.match(serialNumber, /^[4-7][0-9A-F]{31}$/);
});

test('an authority can be created again for a stored key', () => {
  const keys = generateKeys();
  const [old, renewed] = [1, 2].map(() => createAuthority({ commonName: 'CA', ...LIFETIME }, keys));
  const { cert } = issueServer(old as CertificateAuthority, ['a']);
  assert.ok(new X509Certificate(cert).verify(new X509Certificate(renewed?.cert ?? '').publicKey));
});

/** Connects as a client that trusts the authority alone. Rejects if it does not trust the certificate of the host. */
async function connectTo(t: TestContext, authority: CertificateAuthority, host: string): Promise<unknown> {
  const server = createServer(issueServer(authority, [host]), (socket) => socket.end());
  const { port } = await serve(t, server);
  const name = isIP(host) === 0 ? { servername: host } : {};
  // Any host is served from 127.0.0.1, so that a client would refuse the name of another address.
  const options = { port, host: '127.0.0.1', ca: authority.cert, checkServerIdentity: () => undefined };
  return once(connect({ ...options, ...name }), 'secureConnect');
}

const CONSTRAINTS: readonly [permitted: readonly string[], host: string, isPermitted: boolean][] = [
  [['api.example.com'], 'api.example.com', true],
  [['api.example.com'], 'example.com', false],
  [['api.example.com'], 'xapi.example.com', false],
  [['api.example.com', 'other.example.com'], 'other.example.com', true],
  [['*.tools.svc'], 'github.tools.svc', true],
  [['*.tools.svc'], 'tools.svc', false],
  [['api.example.com'], '127.0.0.1', false],
  [['api.example.com'], '::1', false],
  [['127.0.0.1'], '127.0.0.1', true],
  [['127.0.0.1'], '127.0.0.2', false],
  [['127.0.0.1'], 'api.example.com', false],
  [['::1', 'api.example.com'], '::1', true],
  [['::1', 'api.example.com'], '127.0.0.1', false],
  [['::1', 'api.example.com'], 'api.example.com', true],
  [[], 'api.example.com', false],
];

for (const [hosts, host, isPermitted] of CONSTRAINTS) {
  const what = isPermitted ? 'trusts' : 'does not trust';
  test(`a client ${what} a certificate for ${host} from an authority for [${hosts.join(', ')}]`, async (t) => {
    const authority = createAuthority({ commonName: 'CA', hosts, ...LIFETIME });
    const connected = connectTo(t, authority, host);
    if (isPermitted) await connected;
    else await assert.rejects(connected, { message: /^(?:permitted|excluded) subtree violation$/ });
  });
}

/** Counts how often each name is read. */
function counting() {
  const reads: string[] = [];
  const nameAt = rememberNames((name) => {
    reads.push(name);
    if (name === 'bad name') throw new Error('invalid');
    return { name, key: name.toLowerCase() };
  });
  return { reads, nameAt };
}

test('reads each name once, whatever its position', () => {
  const { reads, nameAt } = counting();
  for (const [position, name] of ['Accept', 'Host', 'Accept', 'Host', 'accept'].entries()) {
    assert.deepEqual(nameAt(position, name), { name, key: name.toLowerCase() });
  }
  assert.equal(nameAt(0, 'Host').key, 'host');
  assert.equal(nameAt(0, 'Accept').key, 'accept');
  assert.deepEqual(reads, ['Accept', 'Host', 'accept']);
});

test('keeps a bounded number of names of callers', () => {
  const { reads, nameAt } = counting();
  for (let i = 0; i < 1000; i += 1) assert.equal(nameAt(i, `x-${i}`).key, `x-${i}`);
  reads.length = 0;
  for (let i = 0; i < 1000; i += 1) nameAt(999 - i, `x-${i}`);
  assert.equal(1000 - reads.length, 256);
});

test('keeps neither a long name nor an invalid one', () => {
  const { reads, nameAt } = counting();
  const long = 'x'.repeat(65);
  for (let i = 0; i < 2; i += 1) {
    assert.equal(nameAt(0, long).key, long);
    assert.throws(() => nameAt(0, 'bad name'), /invalid/);
  }
  assert.deepEqual(reads, [long, 'bad name', long, 'bad name']);
});
