import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { readKeySet } from '../../../src/doctor/key-set.ts';
import { answer } from './samples.ts';

const URL = 'https://idp.example.com/jwks';
const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const EC = publicKey.export({ format: 'jwk' });
const RSA = generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ format: 'jwk' });

const read = (body: unknown, { status = 200, error = undefined as unknown, set = true } = {}) =>
  readKeySet(answer(status, body, { method: 'GET', url: URL, error }), set);

test('keys are told by their names and what they are for', async () => {
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
    `4 keys to verify by at ${URL}: "one" (ES256), "two" (RS256), "any" (RS256 and others), one without a name (ES256)`,
  );
  assert.deepEqual(keys[2]?.algorithms, ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']);
  assert.equal(keys[3]?.name, undefined);
});

const USELESS: [what: string, key: Record<string, unknown>][] = [
  ['for encryption', { ...RSA, use: 'enc', alg: 'RSA-OAEP' }],
  ['a shared secret', { kty: 'oct', k: 'c2VjcmV0', alg: 'HS256' }],
  ['a private one', privateKey.export({ format: 'jwk' })],
  ['of a curve that JWS has not', { ...EC, crv: 'secp256k1' }],
  ['of nothing', {}],
];
for (const [what, key] of USELESS) {
  test(`a key ${what} is not one to verify by`, async () => {
    const { finding, keys } = await read({ keys: [key] });
    assert.deepEqual([finding.severity, finding.code, keys], ['error', 'keys_unusable', []]);
    assert.match(finding.what, /1 in all/);
    assert.match((await read({ keys: [key, EC] })).finding.what, /^a key to verify by/);
  });
}

const NO_SETS: [what: string, body: unknown][] = [
  ['a web page', '<html></html>'],
  ['one key alone', EC],
  ['a list', [EC]],
  ['keys by their names', { keys: { one: EC } }],
  ['a set with something else in it, which the program refuses as a whole', { keys: [EC, 'key'] }],
];
for (const [what, body] of NO_SETS) {
  test(`${what} is no key set`, async () => {
    const { finding } = await read(body);
    assert.deepEqual([finding.severity, finding.code], ['error', 'keys_unusable']);
    assert.match(finding.what, /not with a key set/);
  });
}

test('an answer that is no success, or not whole, has no keys, and the fix is where their address is from', async () => {
  const gone = (await read('', { status: 404 })).finding;
  assert.deepEqual([gone.severity, gone.code], ['error', 'keys_unavailable']);
  assert.match(gone.what, /answered with 404/);
  assert.equal(gone.fix, 'check subject_token.verify.jwks_uri');
  const discovered = (await read('', { status: 302, set: false })).finding;
  assert.match(discovered.fix ?? '', /^fix the "jwks_uri" of the issuer's metadata/);
  const cut = (await read({ keys: [EC] }, { error: new Error('too large') })).finding;
  assert.equal(cut.code, 'keys_unavailable');
  assert.match(cut.what, /not read to its end/);
});

test('a name that would steer a terminal cannot', async () => {
  const { finding } = await read({ keys: [{ ...EC, kid: '\u001b[2Jx' }] });
  assert.ok(finding.what.includes('"?[2Jx"'));
});
