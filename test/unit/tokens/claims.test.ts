import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeJwt } from 'jose/jwt/decode';
import { readClaims } from '../../../src/tokens/claims.ts';
import { jwtOf } from './sample.ts';

test('reads the claims of a JWT without verifying its signature', () => {
  assert.deepEqual(readClaims(jwtOf({ sub: 'alice', aud: ['a'] })), { sub: 'alice', aud: ['a'] });
});

test('reads the same claims as jose', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: 'binary' }), fc.jsonValue()), (claims) => {
      const token = jwtOf(claims);
      assert.deepEqual(readClaims(token), decodeJwt(token));
    }),
  );
});

test('reads claims in the alphabet of base64, and with padding, because some servers do', () => {
  const payload = Buffer.from('{"sub":"ÿÿ"}').toString('base64');
  assert.match(payload, /[+/].*=$/);
  assert.deepEqual(readClaims(`e30.${payload}.c2ln`), { sub: 'ÿÿ' });
});

const opaque: Record<string, string> = {
  'an opaque token': 'ya29.a0AfB_byC',
  'three parts of invalid JSON': 'a.b.c',
  'claims that are a list': `${Buffer.from('{"alg":"ES256"}').toString('base64url')}.${Buffer.from('[1]').toString('base64url')}.c2ln`,
  'an encrypted token': `${Buffer.from('{"alg":"RSA-OAEP","enc":"A256GCM"}').toString('base64url')}.a.b.c.d`,
  'an empty string': '',
};
for (const [what, token] of Object.entries(opaque)) {
  test(`reads no claims of ${what}`, () => assert.equal(readClaims(token), undefined));
}

test('never throws, whatever the text', () => {
  const part = fc.oneof(
    fc.string(),
    fc.base64String(),
    fc.json().map((json) => Buffer.from(json).toString('base64url')),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      readClaims(parts.join('.'));
    }),
  );
});
