import assert from 'node:assert/strict';
import { createHash, generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import type { ClientAuth } from '../../../src/config/authorization-server.ts';
import { authenticateClient } from '../../../src/tokens/client-auth.ts';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, folderOf, jwtOf, secretJwt, serverOf } from './sample.ts';

const ISSUER = 'https://idp.example.com';
const clock = createFakeClock();
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' });
const p521 = generateKeyPairSync('ec', { namedCurve: 'P-521' });
const ed25519 = generateKeyPairSync('ed25519');

type Pair = { publicKey: KeyObject; privateKey: KeyObject };
const pem = (pair: Pair, type: 'pkcs8' | 'pkcs1' | 'sec1'): string =>
  pair.privateKey.export({ type, format: 'pem' } as { type: 'pkcs8'; format: 'pem' }).toString();
const jwk = (pair: Pair, more: object = {}): string =>
  JSON.stringify({ ...pair.privateKey.export({ format: 'jwk' }), ...more });

type KeyAuth = Partial<Extract<ClientAuth, { method: 'private_key_jwt' }>>;

const keyAuth = (file: string, fields: KeyAuth = {}): ClientAuth => ({
  method: 'private_key_jwt',
  privateKey: { file },
  alg: undefined,
  keyId: undefined,
  certificate: undefined,
  assertionAudience: undefined,
  assertionLifetimeMs: 60_000,
  ...fields,
});

const keyIn = (t: TestContext, key: string, fields?: KeyAuth) => keyAuth(folderOf(t).write('key', key), fields);

/** The form fields of a client, and the reported expiries of its credentials. */
async function authenticate(clientAuth: ClientAuth, at = clock) {
  const expiries: [string, number][] = [];
  const credentialRead = (...expiry: [string, number]) => void expiries.push(expiry);
  const client = await authenticateClient(serverOf({ clientAuth }), ISSUER, at, credentialRead);
  assert.equal(client.authorization, undefined);
  return { form: Object.fromEntries(client.fields.map(({ name, value }) => [name, value])), expiries };
}

const JWT_BEARER = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

async function assertionOf(clientAuth: ClientAuth, at = clock): Promise<string> {
  const { client_assertion: assertion = '', ...others } = (await authenticate(clientAuth, at)).form;
  assert.deepEqual(others, { client_id: 'cambist', client_assertion_type: JWT_BEARER });
  return assertion;
}

/** Asserts that a client assertion is valid at the issuer for a minute. */
async function assertSigned(assertion: string, key: KeyObject | Buffer, alg: string): Promise<void> {
  assert.deepEqual(decodeProtectedHeader(assertion), { alg, typ: 'JWT' });
  const expected = { issuer: 'cambist', subject: 'cambist', audience: ISSUER };
  const { payload } = await jwtVerify(assertion, key, { ...expected, currentDate: new Date(clock.wallMs()) });
  const { iat = 0, nbf, exp, jti } = payload;
  assert.deepEqual([nbf, exp, jti === undefined], [iat, iat + 60, false]);
}

const keys: [what: string, pair: Pair, text: string, alg: string, fields?: KeyAuth][] = [
  ['RSA in PKCS#8', rsa, pem(rsa, 'pkcs8'), 'RS256'],
  ['RSA in PKCS#1', rsa, pem(rsa, 'pkcs1'), 'RS256'],
  ['RSA as JWK', rsa, jwk(rsa), 'RS256'],
  ['RSA as JWK with its algorithm', rsa, jwk(rsa, { alg: 'PS384' }), 'PS384'],
  ['RSA with an algorithm from the config', rsa, pem(rsa, 'pkcs8'), 'PS256', { alg: 'PS256' }],
  ['RSA as JWK with another algorithm than the config', rsa, jwk(rsa, { alg: 'PS384' }), 'RS512', { alg: 'RS512' }],
  ['P-256 in PKCS#8', p256, pem(p256, 'pkcs8'), 'ES256'],
  ['P-256 in SEC1', p256, pem(p256, 'sec1'), 'ES256'],
  ['P-256 as JWK', p256, jwk(p256), 'ES256'],
  ['P-384 in PKCS#8', p384, pem(p384, 'pkcs8'), 'ES384'],
  ['P-521 as JWK', p521, jwk(p521), 'ES512'],
  ['Ed25519 in PKCS#8', ed25519, pem(ed25519, 'pkcs8'), 'EdDSA'],
  ['Ed25519 as JWK', ed25519, jwk(ed25519), 'EdDSA'],
  ['Ed25519 under its own name', ed25519, pem(ed25519, 'pkcs8'), 'Ed25519', { alg: 'Ed25519' }],
  ['a key between line breaks', p256, `\n${jwk(p256)}\n`, 'ES256'],
];
for (const [what, pair, text, alg, fields] of keys) {
  test(`signs a valid assertion with ${alg}: ${what}`, async (t) => {
    await assertSigned(await assertionOf(keyIn(t, text, fields)), pair.publicKey, alg);
  });
}

test('each assertion has its own jti and the current time', async (t) => {
  const clock = createFakeClock();
  const auth = keyIn(t, pem(p256, 'pkcs8'), { assertionLifetimeMs: 1500 });
  const first = decodeJwt(await assertionOf(auth, clock));
  clock.advance(999);
  const second = decodeJwt(await assertionOf(auth, clock));
  assert.notEqual(first.jti, second.jti);
  assert.equal(second.iat, first.iat);
  assert.equal((first.exp ?? 0) - (first.iat ?? 0), 2);
});

const keyIds: [what: string, more: object, fields: KeyAuth, kid: string | undefined][] = [
  ['of the JWK', { kid: 'own' }, {}, 'own'],
  ['of the config, even if the JWK has another', { kid: 'own' }, { keyId: 'configured' }, 'configured'],
  ['of the config', {}, { keyId: 'configured' }, 'configured'],
  ['is left out when the JWK has a number', { kid: 7 }, {}, undefined],
];
for (const [what, more, fields, kid] of keyIds) {
  test(`key id: ${what}`, async (t) => {
    assert.equal(decodeProtectedHeader(await assertionOf(keyIn(t, jwk(p256, more), fields))).kid, kid);
  });
}

const encrypted = p256.privateKey
  .export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'x' })
  .toString();
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });
const pss = generateKeyPairSync('rsa-pss', { modulusLength: 2048 });
const k1 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' });
const x25519 = generateKeyPairSync('x25519');
const useless: [what: string, text: string, fields?: KeyAuth][] = [
  ['RSA with an algorithm for curves', pem(rsa, 'pkcs8'), { alg: 'ES256' }],
  ['P-256 with the algorithm of P-384', pem(p256, 'pkcs8'), { alg: 'ES384' }],
  ['P-256 with an algorithm for RSA', jwk(p256), { alg: 'RS256' }],
  ['a JWK with an encryption algorithm', jwk(rsa, { alg: 'RSA-OAEP' })],
  ['a key with a passphrase', encrypted],
  ['a public key', p256.publicKey.export({ type: 'spki', format: 'pem' }).toString()],
  ['a public JWK', JSON.stringify(p256.publicKey.export({ format: 'jwk' }))],
  ['a symmetric JWK', '{"kty":"oct","k":"c2VjcmV0"}'],
  ['RSA with too few bits', pem(weak, 'pkcs8')],
  ['a key restricted to PSS', pem(pss, 'pkcs8')],
  ['a curve without an algorithm', pem(k1, 'pkcs8')],
  ['a key that cannot sign', pem(x25519, 'pkcs8')],
  ['truncated JSON', '{"kty":"EC","d":"c2VjcmV0'],
  ['other text', 'c2VjcmV0LWtleQ'],
];
for (const [what, text, fields] of useless) {
  test(`refuses a key without quoting it: ${what}`, async (t) => {
    await assert.rejects(authenticate(keyIn(t, text, fields)), (error: Error) => {
      failsWith('ERR_CREDENTIAL_UNAVAILABLE', /private key of authorization server "main".*PKCS#8/)(error);
      return !error.message.includes('c2VjcmV0') && error.cause === undefined;
    });
  });
}

const SECRET = 'a-secret-of-some-length-that-is-enough-for-the-longest-of-the-hashes';

for (const alg of ['HS256', 'HS384', 'HS512']) {
  test(`signs an assertion with the client secret and ${alg}`, async (t) => {
    const assertion = await assertionOf(secretJwt(folderOf(t).write('secret', `${SECRET}\n`), { alg }));
    await assertSigned(assertion, Buffer.from(SECRET), alg);
  });
}

test('signs with a short secret, for the audience of the config', async (t) => {
  const auth = secretJwt(folderOf(t).write('secret', 'short'), { assertionAudience: 'https://idp/token' });
  assert.equal(decodeJwt(await assertionOf(auth)).aud, 'https://idp/token');
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
  const exp = Math.floor(clock.wallMs() / 1000) + 300;
  const spiffe = 'urn:ietf:params:oauth:client-assertion-type:jwt-spiffe';
  const svid = jwtOf({ sub: 'spiffe://example.org/cambist', exp });
  const file = folderOf(t).write('svid', `${svid}\n`);
  const { form, expiries } = await authenticate(assertionFile(file, spiffe));
  assert.deepEqual(form, { client_id: 'cambist', client_assertion_type: spiffe, client_assertion: svid });
  assert.deepEqual(expiries, [['client assertion of authorization server "main"', exp]]);
});

test('sends an assertion that is opaque or states no expiry', async (t) => {
  for (const text of ['opaque', jwtOf({ sub: 'x' })]) {
    const { form, expiries } = await authenticate(assertionFile(folderOf(t).write('assertion', text)));
    assert.equal(form.client_assertion, text);
    assert.deepEqual(expiries, []);
  }
});

test('refuses an assertion that is expired or malformed', async (t) => {
  const expired = jwtOf({ exp: Math.floor(clock.wallMs() / 1000) - 6 });
  const cases: [string, RegExp][] = [
    [expired, /client assertion of authorization server "main": it is expired: check the process that renews it/],
    ['{"json":1}', /contains no token/],
  ];
  for (const [text, message] of cases) {
    const auth = assertionFile(folderOf(t).write('assertion', text));
    await assert.rejects(authenticate(auth), failsWith('ERR_CREDENTIAL_UNAVAILABLE', message));
  }
});

const certified = (key: string, file: string) => keyAuth(key, { certificate: { file } });

test('puts the thumbprint of the certificate into the assertion, and reports its expiry', async (t) => {
  const { cert, key } = createCertificateAuthority().issueClient();
  const folder = folderOf(t);
  const { form, expiries } = await authenticate(certified(folder.write('key', key), folder.write('cert', cert)));
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
  const folder = folderOf(t);
  const good = folder.write('key', key);
  const refuses = (auth: ClientAuth, message: RegExp) =>
    assert.rejects(authenticate(auth), failsWith('ERR_CREDENTIAL_UNAVAILABLE', message));
  const malformed = /client certificate of authorization server "main": the file contains no PEM certificate/;
  await refuses(certified(good, folder.write('no-cert', key)), malformed);
  const other = folder.write('other', pem(p256, 'pkcs8'));
  await refuses(certified(other, folder.write('cert', cert)), /that matches the algorithm and the certificate/);
});

const basics: [encoding: 'form' | 'raw', id: string, secret: string, pair: string][] = [
  ['form', 'https://id', 'a:b', 'https%3A%2F%2Fid:a%3Ab'],
  ['form', 'a b', '+%&=/?', 'a+b:%2B%25%26%3D%2F%3F'],
  ['form', 'client', "!'()*", 'client:%21%27%28%29%2A'],
  ['form', 'client', 'pässwörd€', 'client:p%C3%A4ssw%C3%B6rd%E2%82%AC'],
  ['raw', 'a b', '+%&=/:?', 'a b:+%&=/:?'],
  ['raw', 'client', 'pässwörd€', 'client:pässwörd€'],
];
for (const [basicEncoding, clientId, secret, pair] of basics) {
  test(`client_secret_basic sends "${pair}" with the encoding ${basicEncoding}`, async (t) => {
    const file = folderOf(t).write('secret', secret);
    const server = serverOf({
      clientId,
      clientAuth: { method: 'client_secret_basic', clientSecret: { file }, basicEncoding },
    });
    const { authorization, fields } = await authenticateClient(server, ISSUER, clock);
    assert.deepEqual(fields, []);
    const [scheme, value = ''] = authorization?.split(' ') ?? [];
    assert.equal(scheme, 'Basic');
    assert.equal(Buffer.from(value, 'base64').toString('utf8'), pair);
  });
}

test('creates the header of client_secret_basic for each client', async (t) => {
  const file = folderOf(t).write('secret', 'secret');
  const clientAuth = { method: 'client_secret_basic', clientSecret: { file }, basicEncoding: 'form' } as const;
  for (const clientId of ['one', 'one', 'two']) {
    const { authorization = '', sent } = await authenticateClient(serverOf({ clientId, clientAuth }), ISSUER, clock);
    assert.equal(Buffer.from(authorization.slice(6), 'base64').toString(), `${clientId}:secret`);
    assert.equal(sent.find(({ name }) => name === 'client_secret')?.value, 'secret');
  }
});

/** Each method with a file, and what it puts into a request for a content of that file. */
const FILES: readonly [name: string, auth: (file: string) => ClientAuth, contents: [old: string, next: string]][] = [
  ['client secret', (file) => ({ method: 'client_secret_post', clientSecret: { file } }), ['old', 'new']],
  [
    'client secret',
    (file) => ({ method: 'client_secret_basic', clientSecret: { file }, basicEncoding: 'form' }),
    ['old', 'new'],
  ],
  ['private key', keyAuth, [pem(rsa, 'pkcs8'), pem(p384, 'sec1')]],
  ['client assertion', assertionFile, ['old', 'new']],
];
for (const [name, authOf, contents] of FILES) {
  test(`reads the ${name} of ${authOf('').method} at each use, so that it can rotate, and names a missing one`, async (t) => {
    const folder = folderOf(t);
    const server = serverOf({ clientAuth: authOf(`${folder.path}/file`) });
    const sentWith = async (content: string) => {
      folder.write('file', content);
      const { authorization, fields } = await authenticateClient(server, ISSUER, clock);
      const sent = authorization ?? fields.find(({ name }) => /secret|assertion$/.test(name))?.value ?? '';
      // Each assertion of a key differs, and the algorithm only with the key.
      return sent.startsWith('eyJ') ? decodeProtectedHeader(sent).alg : sent;
    };
    const [old, next] = [await sentWith(contents[0]), await sentWith(contents[1])];
    assert.ok(old && next && old !== next, `${old} ${next}`);
    const missing = serverOf({ clientAuth: authOf(`${folder.path}/absent`) });
    await assert.rejects(
      async () => authenticateClient(missing, ISSUER, clock),
      failsWith('ERR_CREDENTIAL_UNAVAILABLE', new RegExp(`${name} of authorization server "main".*absent`)),
    );
  });
}
