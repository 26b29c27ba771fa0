import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import type { ClientAuth } from '../../../src/config/authorization-server.ts';
import { authenticateClient } from '../../../src/tokens/client-auth.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, folderOf, jwtOf, serverOf } from './sample.ts';

const ISSUER = 'https://idp.example.com';
const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const SECRET = 'a-secret-of-some-length-that-is-enough-for-the-longest-of-the-hashes';

/** The form fields of a client, and the reported expiries of its credentials. */
async function authenticate(clientAuth: ClientAuth, clock = createFakeClock()) {
  const expiries: [string, number][] = [];
  const credentialRead = (...expiry: [string, number]) => void expiries.push(expiry);
  const client = await authenticateClient(serverOf({ clientAuth }), ISSUER, clock, credentialRead);
  assert.equal(client.authorization, undefined);
  return { form: Object.fromEntries(client.fields), expiries };
}

function secretJwt(file: string, fields: { alg?: string; assertionAudience?: string } = {}): ClientAuth {
  return {
    method: 'client_secret_jwt',
    clientSecret: { file },
    alg: 'HS256',
    assertionAudience: undefined,
    assertionLifetimeMs: 60_000,
    ...fields,
  };
}

for (const alg of ['HS256', 'HS384', 'HS512']) {
  test(`signs an assertion with the client secret and ${alg}`, async (t) => {
    const clock = createFakeClock();
    const { form } = await authenticate(secretJwt(folderOf(t).write('secret', `${SECRET}\n`), { alg }), clock);
    assert.equal(form.client_id, 'cambist');
    assert.equal(form.client_assertion_type, JWT_BEARER);
    assert.equal('client_secret' in form, false);
    const { payload, protectedHeader } = await jwtVerify(form.client_assertion ?? '', Buffer.from(SECRET), {
      currentDate: new Date(clock.wallMs()),
    });
    assert.equal(protectedHeader.alg, alg);
    const { iss, sub, aud, jti, iat = 0, nbf, exp } = payload;
    assert.deepEqual({ iss, sub, aud }, { iss: 'cambist', sub: 'cambist', aud: ISSUER });
    assert.ok(jti);
    assert.deepEqual([nbf, exp], [iat, iat + 60]);
  });
}

test('signs with a short secret, and uses the audience of the config', async (t) => {
  const auth = secretJwt(folderOf(t).write('secret', 'short'), { assertionAudience: 'https://idp/token' });
  const { form } = await authenticate(auth);
  assert.equal(decodeJwt(form.client_assertion ?? '').aud, 'https://idp/token');
});

test('refuses a secret that cannot sign without quoting it', async (t) => {
  const auth = secretJwt(folderOf(t).write('secret', SECRET), { alg: 'HS1' });
  await assert.rejects(authenticate(auth), (error: Error) => {
    failsWith(
      'ERR_CREDENTIAL_UNAVAILABLE',
      /client secret of authorization server "main": it cannot sign with HS1/,
    )(error);
    return !error.message.includes(SECRET) && error.cause === undefined;
  });
});

function assertionFile(file: string, clientAssertionType = JWT_BEARER): ClientAuth {
  return { method: 'client_assertion', clientAssertion: { file }, from: undefined, clientAssertionType };
}

test('sends an assertion from a file with its type, and reports its expiry', async (t) => {
  const clock = createFakeClock();
  const exp = Math.floor(clock.wallMs() / 1000) + 300;
  const spiffe = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
  const folder = folderOf(t);
  const svid = jwtOf({ sub: 'spiffe://example.org/cambist', exp });
  const file = folder.write('svid', `${svid}\n`);
  const { form, expiries } = await authenticate(assertionFile(file, spiffe), clock);
  assert.deepEqual(form, { client_id: 'cambist', client_assertion_type: spiffe, client_assertion: svid });
  assert.deepEqual(expiries, [['client assertion of authorization server "main"', exp]]);
  const next = jwtOf({ sub: 'spiffe://example.org/cambist', exp: exp + 300 });
  folder.write('svid', next);
  assert.equal((await authenticate(assertionFile(file, spiffe), clock)).form.client_assertion, next);
});

test('sends an assertion that is opaque or states no expiry', async (t) => {
  for (const text of ['opaque', jwtOf({ sub: 'x' })]) {
    const { form, expiries } = await authenticate(assertionFile(folderOf(t).write('assertion', text)));
    assert.equal(form.client_assertion, text);
    assert.deepEqual(expiries, []);
  }
});

test('refuses an assertion that is expired, malformed or missing', async (t) => {
  const clock = createFakeClock();
  const expired = jwtOf({ exp: Math.floor(clock.wallMs() / 1000) - 6 });
  const cases: [string, RegExp][] = [
    [expired, /client assertion of authorization server "main": it is expired: check the process that renews it/],
    ['two words', /contains no token/],
    ['{"json":1}', /contains no token/],
  ];
  for (const [text, message] of cases) {
    const auth = assertionFile(folderOf(t).write('assertion', text));
    await assert.rejects(authenticate(auth, clock), failsWith('ERR_CREDENTIAL_UNAVAILABLE', message));
  }
  await assert.rejects(authenticate(assertionFile('/absent')), failsWith('ERR_CREDENTIAL_UNAVAILABLE', /absent/));
});

test('names the client in the form with tls_client_auth', async () => {
  const { form } = await authenticate({ method: 'tls_client_auth' });
  assert.deepEqual(form, { client_id: 'cambist' });
});

function keyAuth(privateKey: string, certificate: string): ClientAuth {
  return {
    method: 'private_key_jwt',
    privateKey: { file: privateKey },
    certificate: { file: certificate },
    alg: undefined,
    keyId: undefined,
    assertionAudience: undefined,
    assertionLifetimeMs: 60_000,
  };
}

test('puts the thumbprint of the certificate into the assertion, and reports its expiry', async (t) => {
  const { cert, key } = createCertificateAuthority().issueClient();
  const folder = folderOf(t);
  const { form, expiries } = await authenticate(keyAuth(folder.write('key', key), folder.write('cert', cert)));
  const { raw, validTo } = new X509Certificate(cert);
  const header = decodeProtectedHeader(form.client_assertion ?? '');
  assert.deepEqual(header, {
    alg: 'ES256',
    typ: 'JWT',
    'x5t#S256': createHash('sha256').update(raw).digest('base64url'),
  });
  assert.deepEqual(expiries, [['client certificate of authorization server "main"', Date.parse(validTo) / 1000]]);
});

test('refuses a certificate that is malformed or belongs to another key', async (t) => {
  const { cert, key } = createCertificateAuthority().issueClient();
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
  const folder = folderOf(t);
  const good = folder.write('key', key);
  await assert.rejects(
    authenticate(keyAuth(good, folder.write('no-cert', key))),
    failsWith(
      'ERR_CREDENTIAL_UNAVAILABLE',
      /client certificate of authorization server "main": the file contains no PEM certificate/,
    ),
  );
  await assert.rejects(
    authenticate(keyAuth(folder.write('other', other.toString()), folder.write('cert', cert))),
    failsWith('ERR_CREDENTIAL_UNAVAILABLE', /that matches the algorithm and the certificate/),
  );
});
