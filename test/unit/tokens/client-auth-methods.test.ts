import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import type { ClientAuth } from '../../../src/config/config.ts';
import { authenticateClient } from '../../../src/tokens/client-auth.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, folderOf, jwtOf, serverOf } from './sample.ts';

const ISSUER = 'https://idp.example.com';
const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';
const SECRET = 'a-secret-of-some-length-that-is-enough-for-the-longest-of-the-hashes';

/** What the client shows, and what was told of the ends of its credentials. */
async function authenticate(clientAuth: ClientAuth, clock = createFakeClock()) {
  const ends: [string, number][] = [];
  const shown = await authenticateClient(serverOf({ clientAuth }), ISSUER, clock, (...end) => ends.push(end));
  assert.equal(shown.authorization, undefined);
  return { form: Object.fromEntries(shown.fields), ends };
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
  test(`the client secret signs an assertion with ${alg}`, async (t) => {
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

test('a short secret signs as well, and another audience is that of the config', async (t) => {
  const auth = secretJwt(folderOf(t).write('secret', 'short'), { assertionAudience: 'https://idp/token' });
  const { form } = await authenticate(auth);
  assert.equal(decodeJwt(form.client_assertion ?? '').aud, 'https://idp/token');
});

test('a secret that cannot sign is our own trouble, and is not shown', async (t) => {
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
  return { method: 'client_assertion', clientAssertion: { file }, clientAssertionType };
}

test('an assertion from a file is shown as it is, under its own type, and its end is told', async (t) => {
  const clock = createFakeClock();
  const exp = Math.floor(clock.wallMs() / 1000) + 300;
  const spiffe = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
  const folder = folderOf(t);
  const svid = jwtOf({ sub: 'spiffe://example.org/cambist', exp });
  const file = folder.write('svid', `${svid}\n`);
  const { form, ends } = await authenticate(assertionFile(file, spiffe), clock);
  assert.deepEqual(form, { client_id: 'cambist', client_assertion_type: spiffe, client_assertion: svid });
  assert.deepEqual(ends, [['client assertion of authorization server "main"', exp]]);
  const next = jwtOf({ sub: 'spiffe://example.org/cambist', exp: exp + 300 });
  folder.write('svid', next);
  assert.equal((await authenticate(assertionFile(file, spiffe), clock)).form.client_assertion, next);
});

test('an assertion that is opaque, or says no end, is shown all the same', async (t) => {
  for (const text of ['opaque', jwtOf({ sub: 'x' })]) {
    const { form, ends } = await authenticate(assertionFile(folderOf(t).write('assertion', text)));
    assert.equal(form.client_assertion, text);
    assert.deepEqual(ends, []);
  }
});

test('an assertion that nobody renewed, or that is none, is our own trouble', async (t) => {
  const clock = createFakeClock();
  const ended = jwtOf({ exp: Math.floor(clock.wallMs() / 1000) - 6 });
  const cases: [string, RegExp][] = [
    [ended, /client assertion of authorization server "main": it has ended: see why nobody has renewed it/],
    ['two words', /does not hold a token/],
    ['{"json":1}', /does not hold a token/],
  ];
  for (const [text, message] of cases) {
    const auth = assertionFile(folderOf(t).write('assertion', text));
    await assert.rejects(authenticate(auth, clock), failsWith('ERR_CREDENTIAL_UNAVAILABLE', message));
  }
  await assert.rejects(authenticate(assertionFile('/absent')), failsWith('ERR_CREDENTIAL_UNAVAILABLE', /absent/));
});

test('with a certificate in the connection, the form says whose it is', async () => {
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

test('with a certificate the assertion bears its thumbprint, and its end is told', async (t) => {
  const { cert, key } = createCertificateAuthority().issueClient();
  const folder = folderOf(t);
  const { form, ends } = await authenticate(keyAuth(folder.write('key', key), folder.write('cert', cert)));
  const { raw, validTo } = new X509Certificate(cert);
  const header = decodeProtectedHeader(form.client_assertion ?? '');
  assert.deepEqual(header, {
    alg: 'ES256',
    typ: 'JWT',
    'x5t#S256': createHash('sha256').update(raw).digest('base64url'),
  });
  assert.deepEqual(ends, [['client certificate of authorization server "main"', Date.parse(validTo) / 1000]]);
});

test('a certificate that is none, or of another key, is our own trouble', async (t) => {
  const { cert, key } = createCertificateAuthority().issueClient();
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' });
  const folder = folderOf(t);
  const good = folder.write('key', key);
  await assert.rejects(
    authenticate(keyAuth(good, folder.write('no-cert', key))),
    failsWith(
      'ERR_CREDENTIAL_UNAVAILABLE',
      /client certificate of authorization server "main": the file holds no certificate/,
    ),
  );
  await assert.rejects(
    authenticate(keyAuth(folder.write('other', other.toString()), folder.write('cert', cert))),
    failsWith('ERR_CREDENTIAL_UNAVAILABLE', /is that of the certificate/),
  );
});
