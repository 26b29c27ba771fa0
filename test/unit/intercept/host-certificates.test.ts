import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmod, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type ConnectionOptions, connect, type SecureContext, TLSSocket } from 'node:tls';
import { openInterceptAuthority } from '../../../src/intercept/authority.ts';
import { createHostCertificates } from '../../../src/intercept/host-certificates.ts';
import { excludedRoutes, interceptedHosts } from '../../../src/intercept/hosts.ts';
import { createOwnAddresses } from '../../../src/intercept/interception.ts';
import { createAuthority, exportKey, nameConstraintsOf, permitsHost } from '../../../src/transport/certificates.ts';
import { configOf } from '../../harness/app.ts';
import { serve } from '../../harness/http-server.ts';
import { secured } from '../../harness/intercepted.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = Date.now();

const lifetime = { notBefore: new Date(NOW_MS - HOUR_MS), notAfter: new Date(NOW_MS + 48 * HOUR_MS) };
const authority = createAuthority({ commonName: 'root', ...lifetime });

/** A client with this authority. @throws {Error} where it refuses the certificate */
async function connected(t: TestContext, secureContext: SecureContext, more: ConnectionOptions): Promise<TLSSocket> {
  const server = createServer((socket) => {
    new TLSSocket(socket, { isServer: true, secureContext }).on('error', () => {});
  });
  const { port } = await serve(t, server);
  const own = { port, host: '127.0.0.1', ca: authority.cert, checkServerIdentity: () => undefined };
  const { socket } = await secured(connect({ ...own, ...more }));
  t.after(() => socket.destroy());
  return socket;
}

test('prefers AES-128 to AES-256, and accepts a client that has AES-256 alone', async (t) => {
  const context = createHostCertificates(authority).contextFor('mcp.example.com');
  for (const [ciphers, chosen] of [
    ['TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256', 'TLS_AES_128_GCM_SHA256'],
    ['TLS_AES_256_GCM_SHA384', 'TLS_AES_256_GCM_SHA384'],
  ] as const) {
    assert.equal((await connected(t, context, { ciphers })).getCipher().name, chosen);
  }
});

test('makes a certificate for an address, as such', async (t) => {
  const { contextFor } = createHostCertificates(authority);
  const client = await connected(t, contextFor('2001:db8::1'), { servername: '' });
  const certificate = new X509Certificate(client.getPeerCertificate().raw);
  assert.equal(certificate.checkIP('2001:db8::1'), '2001:db8::1');
  assert.match(certificate.subjectAltName ?? '', /^IP Address:/);
});

test('makes a certificate for each host, and another one after half a lifetime, or if the clock is set to before the certificate', () => {
  let nowMs = NOW_MS;
  const { contextFor } = createHostCertificates(authority, () => nowMs);
  const first = contextFor('a.example.com');
  assert.notEqual(contextFor('b.example.com'), first);
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

const HOSTS = ['mcp.example.com', '*.tools.svc'];

test('makes an ephemeral authority that may sign only for its hosts and for no address', async () => {
  const [one, other] = await Promise.all([1, 2].map(() => openInterceptAuthority({ kind: 'ephemeral' }, HOSTS)));
  assert.ok(one !== undefined && other !== undefined);
  assert.notEqual(one.cert, other.cert);
  assert.equal(new X509Certificate(one.cert).publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1');
  const constraints = nameConstraintsOf(one.cert);
  assert.ok(constraints !== undefined);
  for (const host of ['mcp.example.com', 'x.tools.svc', '*.tools.svc']) assert.ok(permitsHost(constraints, host), host);
  for (const host of ['example.com', 'tools.svc', 'evil.com', '10.0.0.1', '::1']) {
    assert.ok(!permitsHost(constraints, host), host);
  }
});

test('makes the authority of a folder once, with a private key that only the owner may read', async (t) => {
  const dir = join(temporaryFolder(t), 'new', 'folder');
  const made = await openInterceptAuthority({ kind: 'dir', dir }, HOSTS);
  const found = await openInterceptAuthority({ kind: 'dir', dir }, ['other.example.com']);
  assert.equal(found.cert, made.cert);
  assert.equal(exportKey(found.privateKey), exportKey(made.privateKey));
  assert.equal((await stat(join(dir, 'authority.pem'))).mode & 0o777, 0o600);
});

test('agrees on one authority when several processes make it at once', async (t) => {
  const dir = temporaryFolder(t);
  const all = await Promise.all(Array.from({ length: 5 }, () => openInterceptAuthority({ kind: 'dir', dir }, HOSTS)));
  const stored = await readFile(join(dir, 'authority.pem'), 'utf8');
  assert.ok(all.every(({ cert }) => stored.includes(cert)));
});

async function replaceByLink(file: string): Promise<void> {
  await rm(file);
  await symlink('/etc/hostname', file);
}

for (const [what, spoil, message] of [
  ['is readable by its group', (file) => chmod(file, 0o640), /other users may access .* its mode is 0640, set 0600/],
  ['is empty', (file) => writeFile(file, ''), /the certificate is not PEM/],
  ['is a symbolic link', replaceByLink, /ELOOP/],
] as [string, (file: string) => Promise<void>, RegExp][]) {
  test(`refuses the authority of a folder if its file ${what}`, async (t) => {
    const dir = temporaryFolder(t);
    await openInterceptAuthority({ kind: 'dir', dir }, HOSTS);
    await spoil(join(dir, 'authority.pem'));
    await assert.rejects(openInterceptAuthority({ kind: 'dir', dir }, HOSTS), message);
  });
}

test('says which folder cannot be written', async (t) => {
  const dir = temporaryFolder(t);
  await writeFile(join(dir, 'file'), '');
  const ca = { kind: 'dir', dir: join(dir, 'file', 'below') } as const;
  await assert.rejects(openInterceptAuthority(ca, HOSTS), /intercept\.ca\.dir: .*ENOTDIR/);
});

async function fileAuthority(t: TestContext, validForMs: number, key?: string) {
  const dir = temporaryFolder(t);
  const notBefore = new Date(NOW_MS - 2 * HOUR_MS);
  const made = createAuthority({ commonName: 'corporate CA', notBefore, notAfter: new Date(NOW_MS + validForMs) });
  await writeFile(join(dir, 'ca.crt'), made.cert);
  await writeFile(join(dir, 'ca.key'), key ?? exportKey(made.privateKey));
  return { made, ca: { kind: 'files', certificate: join(dir, 'ca.crt'), privateKey: join(dir, 'ca.key') } as const };
}

test('reads an authority from files', async (t) => {
  const { made, ca } = await fileAuthority(t, HOUR_MS);
  const read = await openInterceptAuthority(ca, HOSTS);
  assert.equal(new X509Certificate(read.cert).fingerprint256, new X509Certificate(made.cert).fingerprint256);
});

test('refuses an expired authority, and a key of another one', async (t) => {
  const expired = await fileAuthority(t, -HOUR_MS);
  await assert.rejects(openInterceptAuthority(expired.ca, HOSTS), /expired on .*: replace it/);
  const other = await openInterceptAuthority({ kind: 'ephemeral' }, HOSTS);
  const { ca } = await fileAuthority(t, HOUR_MS, exportKey(other.privateKey));
  await assert.rejects(openInterceptAuthority(ca, HOSTS), /the private key does not belong to the certificate/);
});

function routesOf(hosts: readonly (string | undefined)[]) {
  const routes = hosts.map((host, index) => ({
    name: `r${index}`,
    match: host === undefined ? { path: '/' } : { host, path: '/' },
    upstream: 'http://127.0.0.1:1',
    credential: 'none',
  }));
  return configOf({ routes }).routes;
}

test('lists each host of the routes once, and addresses without brackets', () => {
  const hosts = ['a.example.com', undefined, '*.tools.svc', '[::1]', '10.0.0.1'];
  const same = { name: 'same', match: { host: 'a.example.com', path: '/b' }, upstream: 'http://127.0.0.1:1' };
  const routes = [...routesOf(hosts), ...configOf({ routes: [{ ...same, credential: 'none' }] }).routes];
  assert.deepEqual(interceptedHosts({ routes, teams: [] }), ['a.example.com', '*.tools.svc', '::1', '10.0.0.1']);
});

for (const [constraints, host, excluded] of [
  [['a.example.com'], 'a.example.com', false],
  [['a.example.com'], 'x.a.example.com', false],
  [['a.example.com'], 'b.example.com', true],
  [['a.example.com'], 'xa.example.com', true],
  [['a.example.com'], '*.example.com', true],
  [['example.com'], '*.example.com', false],
  [['*.tools.svc'], '*.tools.svc', false],
  [['*.tools.svc'], '*.x.tools.svc', false],
  [['*.tools.svc'], 'tools.svc', true],
  [['a.example.com'], '10.0.0.1', true],
  [['a.example.com'], '[::1]', true],
  [['10.0.0.1'], '10.0.0.1', false],
  [['10.0.0.1'], '10.0.0.2', true],
  [['10.0.0.1'], '[::1]', true],
  [['::1'], '[::1]', false],
  [['::1'], 'a.example.com', true],
  [undefined, '10.0.0.1', false],
] as [string[] | undefined, string, boolean][]) {
  test(`an authority for ${constraints ?? 'every host'} ${excluded ? 'excludes' : 'permits'} ${host}`, () => {
    const { cert } = createAuthority({ commonName: 'CA', ...(constraints && { hosts: constraints }), ...lifetime });
    assert.equal(excludedRoutes(cert, routesOf([host])).length, Number(excluded));
  });
}

for (const [own, local, remote, refused] of [
  ['http://127.0.0.1:443', '127.0.0.1', '127.0.0.1', true],
  ['http://127.0.0.1:443', '127.0.0.1', '::ffff:127.0.0.1', true],
  ['http://127.0.0.1:443', '127.0.0.1', '127.0.0.2', false],
  ['http://127.0.0.1:443', '10.0.0.5', '192.0.2.1', false],
  ['http://127.0.0.1:8443', '127.0.0.1', '127.0.0.1', false],
  ['http://[::1]:443', '::1', '::1', true],
  ['http://0.0.0.0:443', '127.0.0.1', '127.0.0.1', true],
  ['http://0.0.0.0:443', '10.0.0.5', '10.0.0.5', true],
  ['https://127.0.0.1', '127.0.0.1', '127.0.0.1', true],
  ['http://[::]:443', '10.0.0.5', '10.0.0.6', false],
  ['unix:/run/c.sock', '127.0.0.1', '127.0.0.1', false],
] as const) {
  test(`${refused ? 'refuses' : 'allows'} a connection to ${remote}:443 while cambist listens on ${own}`, () => {
    const addresses = createOwnAddresses();
    addresses.add(own);
    const socket = { localAddress: local, remoteAddress: remote, remotePort: 443 } as Socket;
    assert.equal(addresses.refuse(socket) !== undefined, refused);
  });
}
