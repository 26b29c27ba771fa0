import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { SignJWT } from 'jose';
import { expiringCredentials } from '../../../src/config/expiring-credentials.ts';
import { readExpiries } from '../../../src/tokens/credential-expiry.ts';
import { configOf } from '../../harness/app.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';

const EXPIRY = 1_900_000_000;

/** A config with a credential of every kind, and a function that writes their files. */
function setUp(t: TestContext) {
  const folder = temporaryFolder(t);
  const file = (name: string) => ({ file: join(folder, name) });
  const tls = { certificate: file('cert.pem'), private_key: file('key.pem') };
  const server = { token_endpoint: 'https://idp.example.com/token', client_id: 'c' };
  const config = configOf({
    authorization_servers: {
      signed: {
        ...server,
        client_auth: { method: 'private_key_jwt', private_key: file('key.pem'), certificate: file('cert.pem') },
      },
      asserted: { ...server, client_auth: { method: 'client_assertion', client_assertion: file('jwt') } },
      mutual: { ...server, client_auth: { method: 'tls_client_auth' }, tls },
    },
    routes: ['signed', 'asserted', 'mutual'].map((name) => ({
      name,
      match: { path: `/${name}` },
      upstream: 'https://mcp.example.com/mcp',
      authorization_server: name,
      ...(name === 'signed' && { actor_token: { ...file('jwt'), type: 'jwt' }, tls }),
      ...(name === 'asserted' && { subject_token: file('opaque') }),
    })),
  });
  return { config, write: (name: string, text: string) => writeFileSync(join(folder, name), text) };
}

async function read(config: Parameters<typeof readExpiries>[0]): Promise<[string, number][]> {
  const expiries: [string, number][] = [];
  await readExpiries(config, (name, seconds) => void expiries.push([name, seconds]));
  return expiries.sort();
}

test('reports every credential that states its expiry, by its name in messages', async (t) => {
  const { config, write } = setUp(t);
  const jwt = new SignJWT({}).setProtectedHeader({ alg: 'HS256' }).setExpirationTime(EXPIRY);
  write('jwt', `${await jwt.sign(new Uint8Array(32))}\n`);
  write('opaque', 'an-opaque-token');
  const { cert } = createCertificateAuthority().issueClient();
  write('cert.pem', cert);
  const expiries = await read(config);
  const certificates = expiries.filter(([, seconds]) => seconds !== EXPIRY);
  assert.deepEqual(
    expiries.filter(([, seconds]) => seconds === EXPIRY).map(([name]) => name),
    ['actor token of route "signed"', 'client assertion of authorization server "asserted"'],
  );
  assert.deepEqual(
    certificates.map(([name]) => name),
    ['authorization server "mutual"', 'client certificate of authorization server "signed"', 'route "signed"'],
  );
  for (const [, seconds] of certificates) assert.ok(seconds > Date.now() / 1000);
  const mayExpire = [...expiries.map(([name]) => name), 'subject token of route "asserted"'];
  assert.deepEqual(
    expiringCredentials(config)
      .map(({ name }) => name)
      .sort(),
    mayExpire.sort(),
  );
});

test('ignores credentials that are missing or malformed', async (t) => {
  const { config, write } = setUp(t);
  write('cert.pem', 'not a certificate');
  assert.deepEqual(await read(config), []);
});
