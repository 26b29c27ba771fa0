import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { readKeySet } from '../../../src/doctor/key-set.ts';
import { response } from './samples.ts';

const URL = 'https://idp.example.com/jwks';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const EC = publicKey.export({ format: 'jwk' });
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });

const read = (body: unknown, { status = 200, error = undefined as unknown, configured = true } = {}) =>
  readKeySet(response(status, body, { method: 'GET', url: URL, error }), configured);

test('lists keys by name and algorithm', async () => {
  const { finding, keys } = await read({
    keys: [
      { ...EC, kid: 'one', use: 'sig' },
      { ...RSA, kid: 'two', alg: 'RS256' },
      { ...RSA, kid: 'any' },
      { ...EC, alg: 'ES256' },
    ],
  });
  assert.equal(
    finding.what,
    `4 keys at ${URL} for verification: "one" (ES256), "two" (RS256), "any" (RS256 and others), (unnamed) (ES256)`,
  );
  assert.deepEqual(keys[2]?.algorithms, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']);
  assert.equal(keys[3]?.name, undefined);
});

const UNUSABLE: [which: string, key: Record<string, unknown>][] = [
  ['for encryption', { ...RSA, use: 'enc', alg: 'RSA-OAEP' }],
  ['that is a shared secret', { kty: 'oct', k: 'c2VjcmV0', alg: 'HS256' }],
  ['that is private', privateKey.export({ format: 'jwk' })],
  ['with a curve unknown to JWS', { ...EC, crv: 'secp256k1' }],
  ['without parameters', {}],
];
for (const [which, key] of UNUSABLE) {
  test(`does not use a key ${which}`, async () => {
    const { finding, keys } = await read({ keys: [key] });
    assert.deepEqual([finding.severity, finding.code, keys], ['error', 'keys_unusable', []]);
    assert.match(finding.what, /none of the 1 keys/);
    assert.match((await read({ keys: [key, EC] })).finding.what, /^one key at/);
  });
}

const INVALID_SETS: [which: string, body: unknown][] = [
  ['a web page', '<html></html>'],
  ['a single key', EC],
  ['a list', [EC]],
  ['an object of keys', { keys: { one: EC } }],
  ['a key set with a malformed member', { keys: [EC, 'key'] }],
];
for (const [which, body] of INVALID_SETS) {
  test(`refuses ${which} as a key set`, async () => {
    const { finding } = await read(body);
    assert.deepEqual([finding.severity, finding.code], ['error', 'keys_unusable']);
    assert.match(finding.what, /but not a key set/);
  });
}

test('reports a failed or incomplete response, with a fix where its address comes from', async () => {
  const gone = (await read('', { status: 404 })).finding;
  assert.deepEqual([gone.severity, gone.code], ['error', 'keys_unavailable']);
  assert.match(gone.what, /returned 404/);
  assert.equal(gone.fix, 'check subject_token.verify.jwks_uri');
  const discovered = (await read('', { status: 302, configured: false })).finding;
  assert.match(discovered.fix ?? '', /^fix the "jwks_uri" of the issuer's metadata/);
  const aborted = (await read({ keys: [EC] }, { error: new Error('too large') })).finding;
  assert.equal(aborted.code, 'keys_unavailable');
  assert.match(aborted.what, /incomplete/);
});

test('escapes control characters in key names', async () => {
  const { finding } = await read({ keys: [{ ...EC, kid: '\u001b[2Jx' }] });
  assert.ok(finding.what.includes('"?[2Jx"'));
});
