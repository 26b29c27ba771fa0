import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { chmod, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { openInterceptAuthority } from '../../../src/intercept/authority.ts';
import { createAuthority, exportKey, nameConstraintsOf, permitsHost } from '../../../src/transport/certificates.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';

const HOUR_MS = 3_600_000;
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

for (const [what, spoil, message] of [
  ['is readable by its group', (file) => chmod(file, 0o640), /other users may access .* its mode is 0640, set 0600/],
  ['is empty', (file) => writeFile(file, ''), /the certificate is not PEM/],
  [
    'is a symbolic link',
    async (file) => {
      await rm(file);
      await symlink('/etc/hostname', file);
    },
    /ELOOP/,
  ],
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
  const lifetime = { notBefore: new Date(Date.now() - 2 * HOUR_MS), notAfter: new Date(Date.now() + validForMs) };
  const made = createAuthority({ commonName: 'corporate CA', ...lifetime });
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
  await assert.rejects(
    openInterceptAuthority((await fileAuthority(t, -HOUR_MS)).ca, HOSTS),
    /expired on .*: replace it/,
  );
  const other = await openInterceptAuthority({ kind: 'ephemeral' }, HOSTS);
  const { ca } = await fileAuthority(t, HOUR_MS, exportKey(other.privateKey));
  await assert.rejects(openInterceptAuthority(ca, HOSTS), /the private key does not belong to the certificate/);
});
