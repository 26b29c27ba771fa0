import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { decodeJwt, decodeProtectedHeader, EmbeddedJWK, jwtVerify } from 'jose';
import { createDpopProver } from '../../../src/tokens/dpop.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const REQUEST = { method: 'POST', url: 'https://idp.example.com/token', nonceFrom: 'idp' };

test('a proof names its request and contains its public key', async () => {
  const clock = createFakeClock();
  const proof = await createDpopProver(clock).prove({ ...REQUEST, url: 'https://idp.example.com/token?a=1#b' });
  const { payload, protectedHeader } = await jwtVerify(proof, EmbeddedJWK, { typ: 'dpop+jwt', algorithms: ['ES256'] });
  const { jti, ...claims } = payload;
  assert.ok(jti);
  assert.deepEqual(claims, {
    htm: 'POST',
    htu: 'https://idp.example.com/token',
    iat: Math.floor(clock.wallMs() / 1000),
  });
  assert.deepEqual(Object.keys(protectedHeader.jwk ?? {}).sort(), ['crv', 'kty', 'x', 'y']);
});

test('binds a proof to a token', async () => {
  const proof = await createDpopProver(createFakeClock()).prove({ ...REQUEST, accessToken: 'issued' });
  assert.equal(decodeJwt(proof).ath, createHash('sha256').update('issued').digest('base64url'));
});

test('all proofs use one key, and each has its own jti', async () => {
  const prover = createDpopProver(createFakeClock());
  const proofs = await Promise.all([prover.prove(REQUEST), prover.prove(REQUEST)]);
  assert.deepEqual(...(proofs.map((proof) => decodeProtectedHeader(proof).jwk) as [unknown, unknown]));
  assert.notEqual(...(proofs.map((proof) => decodeJwt(proof).jti) as [unknown, unknown]));
  const other = await createDpopProver(createFakeClock()).prove(REQUEST);
  assert.notDeepEqual(decodeProtectedHeader(other).jwk, decodeProtectedHeader(proofs[0]).jwk);
});

test('uses the newest nonce of a server in proofs for this server only', async () => {
  const prover = createDpopProver(createFakeClock());
  const nonceOf = async (nonceFrom: string) => decodeJwt(await prover.prove({ ...REQUEST, nonceFrom })).nonce;
  assert.equal(prover.learn('idp', 'one'), true);
  assert.equal(prover.learn('idp', 'two'), true);
  assert.equal(prover.learn('idp', 'two'), true);
  assert.equal(await nonceOf('idp'), 'two');
  assert.equal(await nonceOf('upstream'), undefined);
});

test('ignores a malformed nonce', async () => {
  const prover = createDpopProver(createFakeClock());
  for (const nonce of [undefined, '', 'a"b', 'a\\b', 'a b', 'ü', 'x'.repeat(1025)]) {
    assert.equal(prover.learn('idp', nonce), false, nonce);
  }
  assert.equal(decodeJwt(await prover.prove(REQUEST)).nonce, undefined);
});

test('forgets the least recently used nonce', async () => {
  const prover = createDpopProver(createFakeClock());
  for (let i = 0; i < 1001; i += 1) prover.learn(`server ${i}`, 'nonce');
  const nonceOf = async (nonceFrom: string) => decodeJwt(await prover.prove({ ...REQUEST, nonceFrom })).nonce;
  assert.equal(await nonceOf('server 0'), undefined);
  assert.equal(await nonceOf('server 1000'), 'nonce');
});
