import assert from 'node:assert/strict';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import type { ClientAuth } from '../../../src/config/authorization-server.ts';
import { authenticateClient } from '../../../src/tokens/client-auth.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, folderOf, serverOf } from './sample.ts';

const ISSUER = 'https://idp.example.com';
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

function serverWith(t: TestContext, key: string, fields: KeyAuth = {}) {
  const clientAuth: ClientAuth = {
    method: 'private_key_jwt',
    privateKey: { file: folderOf(t).write('key', key) },
    alg: undefined,
    keyId: undefined,
    certificate: undefined,
    assertionAudience: undefined,
    assertionLifetimeMs: 60_000,
    ...fields,
  };
  return serverOf({ clientAuth });
}

async function assertionOf(server: ReturnType<typeof serverOf>, clock = createFakeClock()): Promise<string> {
  const { authorization, fields } = await authenticateClient(server, ISSUER, clock);
  assert.equal(authorization, undefined);
  const { client_assertion: assertion, ...others } = Object.fromEntries(fields);
  assert.deepEqual(others, {
    client_id: 'cambist',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
  });
  assert.ok(assertion !== undefined);
  return assertion;
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
  ['P-384 in SEC1', p384, pem(p384, 'sec1'), 'ES384'],
  ['P-384 as JWK', p384, jwk(p384), 'ES384'],
  ['P-521 in PKCS#8', p521, pem(p521, 'pkcs8'), 'ES512'],
  ['P-521 in SEC1', p521, pem(p521, 'sec1'), 'ES512'],
  ['P-521 as JWK', p521, jwk(p521), 'ES512'],
  ['Ed25519 in PKCS#8', ed25519, pem(ed25519, 'pkcs8'), 'EdDSA'],
  ['Ed25519 as JWK', ed25519, jwk(ed25519), 'EdDSA'],
  ['Ed25519 under its own name', ed25519, pem(ed25519, 'pkcs8'), 'Ed25519', { alg: 'Ed25519' }],
  ['a key between line breaks', p256, `\n${jwk(p256)}\n`, 'ES256'],
];
for (const [what, pair, text, alg, fields] of keys) {
  test(`signs a valid assertion with ${alg}: ${what}`, async (t) => {
    const assertion = await assertionOf(serverWith(t, text, fields));
    assert.deepEqual(decodeProtectedHeader(assertion), { alg, typ: 'JWT' });
    const currentDate = new Date(createFakeClock().wallMs());
    await jwtVerify(assertion, pair.publicKey, {
      issuer: 'cambist',
      subject: 'cambist',
      audience: ISSUER,
      currentDate,
    });
  });
}

test('an assertion has exactly the claims of RFC 7523 and lives for a minute', async (t) => {
  const clock = createFakeClock();
  const { jti, ...claims } = decodeJwt(await assertionOf(serverWith(t, pem(p256, 'pkcs8')), clock));
  const now = clock.wallMs() / 1000;
  assert.deepEqual(claims, { iss: 'cambist', sub: 'cambist', aud: ISSUER, iat: now, nbf: now, exp: now + 60 });
  assert.match(jti ?? '', /^[0-9a-f-]{36}$/);
});

test('each assertion has its own jti and the current time', async (t) => {
  const clock = createFakeClock();
  const server = serverWith(t, pem(p256, 'pkcs8'), { assertionLifetimeMs: 1500 });
  const first = decodeJwt(await assertionOf(server, clock));
  clock.advance(999);
  const second = decodeJwt(await assertionOf(server, clock));
  assert.notEqual(first.jti, second.jti);
  assert.equal(second.iat, first.iat);
  assert.equal((first.exp ?? 0) - (first.iat ?? 0), 2);
});

test('uses the audience of the config', async (t) => {
  const assertionAudience = 'https://idp.example.com/token';
  const { aud } = decodeJwt(await assertionOf(serverWith(t, pem(p256, 'pkcs8'), { assertionAudience })));
  assert.equal(aud, assertionAudience);
});

const keyIds: [what: string, more: object, fields: KeyAuth, kid: string | undefined][] = [
  ['of the JWK', { kid: 'own' }, {}, 'own'],
  ['of the config, even if the JWK has another', { kid: 'own' }, { keyId: 'configured' }, 'configured'],
  ['of the config', {}, { keyId: 'configured' }, 'configured'],
  ['is left out when the JWK has a number', { kid: 7 }, {}, undefined],
];
for (const [what, more, fields, kid] of keyIds) {
  test(`key id: ${what}`, async (t) => {
    assert.equal(decodeProtectedHeader(await assertionOf(serverWith(t, jwk(p256, more), fields))).kid, kid);
  });
}

test('reads the key at each use, so that it can rotate', async (t) => {
  const folder = folderOf(t);
  const file = folder.write('key', pem(rsa, 'pkcs8'));
  const server = serverWith(t, '', { privateKey: { file } });
  assert.equal(decodeProtectedHeader(await assertionOf(server)).alg, 'RS256');
  folder.write('key', pem(p384, 'sec1'));
  assert.equal(decodeProtectedHeader(await assertionOf(server)).alg, 'ES384');
});

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
  ['Ed25519 with an algorithm for curves', pem(ed25519, 'pkcs8'), { alg: 'ES256' }],
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
    const server = serverWith(t, text, fields);
    await assert.rejects(
      async () => authenticateClient(server, ISSUER, createFakeClock()),
      (error) => {
        failsWith('ERR_CREDENTIAL_UNAVAILABLE', /private key of authorization server "main".*PKCS#8/)(error);
        const { message, cause } = error as Error;
        assert.ok(!message.includes('c2VjcmV0') && cause === undefined);
        return true;
      },
    );
  });
}

test('names a missing key in the error', async (t) => {
  const server = serverWith(t, '', { privateKey: { file: `${folderOf(t).path}/absent` } });
  await assert.rejects(
    async () => authenticateClient(server, ISSUER, createFakeClock()),
    failsWith('ERR_CREDENTIAL_UNAVAILABLE', /private key of authorization server "main".*absent/),
  );
});
