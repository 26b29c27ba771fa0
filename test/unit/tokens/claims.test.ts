import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { readClaims } from '../../../src/tokens/claims.ts';
import { jwtOf } from './sample.ts';

test('reads the claims of a JWT without verifying its signature', () => {
  assert.deepEqual(readClaims(jwtOf({ sub: 'alice', aud: ['a'] })), { sub: 'alice', aud: ['a'] });
});

const opaque: Record<string, string> = {
  'an opaque token': 'ya29.a0AfB_byC',
  'three parts of invalid JSON': 'a.b.c',
  'a header without an algorithm': jwtOf({ sub: 'alice' }, { typ: 'JWT' }),
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
