import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeJwt } from 'jose/jwt/decode';
import {
  jsonMembers,
  readClaims,
  readIssuedClaims,
  skipSpace,
  withoutMembers,
} from '../../../src/tokens/token-text.ts';
import { jwtOf } from './sample.ts';

test('reads the same claims of a JWT as jose, without verifying its signature', () => {
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

test('never throws, and reads the same claims of an issued token, whatever the text', () => {
  const part = fc.oneof(
    fc.string(),
    fc.base64String(),
    fc.json().map((json) => Buffer.from(json).toString('base64url')),
  );
  fc.assert(
    fc.property(fc.array(part, { maxLength: 6 }), (parts) => {
      const token = parts.join('.');
      assert.deepEqual(readIssuedClaims(token).claims, readClaims(token));
    }),
  );
});

const HEADER = { alg: 'ES256' };
const GOOD = '{"aud":"other"}';
const base64url = (bytes: string | Uint8Array) => Buffer.from(bytes).toString('base64url');
const tokenOf = (payload: string | Uint8Array, header: string | Uint8Array = JSON.stringify(HEADER)) =>
  `${base64url(header)}.${base64url(payload)}.c2ln`;
const half = base64url(GOOD).length / 2;
const dotted = (header: object) =>
  `${base64url(JSON.stringify(header))}.${base64url(GOOD).slice(0, half)}.${base64url(GOOD).slice(half)}`;

const ambiguous: Record<string, string> = {
  'a byte order mark before the claims': tokenOf(`\ufeff${GOOD}`),
  'claims in UTF-16': tokenOf(Buffer.from(GOOD, 'utf16le')),
  'claims in UTF-16 with a byte order mark': tokenOf(Buffer.from(`\ufeff${GOOD}`, 'utf16le')),
  'claims and header in UTF-16': tokenOf(Buffer.from(GOOD, 'utf16le'), Buffer.from('{"alg":"ES256"}', 'utf16le')),
  'NaN among the claims': tokenOf('{"aud":"other","x":NaN}'),
  'a trailing NUL': tokenOf(`${GOOD}\0`),
  'invalid UTF-8': tokenOf(Buffer.from('{"aud":"other","x":"\xff"}', 'latin1')),
  'a second aud': tokenOf('{"aud":"other","aud":"github"}'),
  'a second aud that is escaped': tokenOf('{"a\\u0075d":"other","aud":"github"}'),
  'a second aud in upper case': tokenOf(' {"aud":"github", "AUD":"other"}'),
  'claims that are a list': tokenOf('["aud"]'),
  'a payload of other text': tokenOf('claims'),
  'a byte order mark in the header as well': tokenOf(`\ufeff${GOOD}`, '\ufeff{"alg":"ES256"}'),
  'characters in the payload that some skip': `e30.${base64url(GOOD).slice(0, 6)}=${base64url(GOOD).slice(6)}.c2ln`,
  'a prefix before the header': `at_${tokenOf(`\ufeff${GOOD}`)}`,
  'a dot within the payload': `${dotted(HEADER)}.c2ln`,
  'two dots within the payload, and enc for a signature': `${dotted({ ...HEADER, enc: 'A256GCM' })}.Y.c2ln`,
};
for (const [what, token] of Object.entries(ambiguous)) {
  test(`counts as ambiguous: a JWT with ${what}`, () => assert.equal(readIssuedClaims(token).ambiguous, true));
}

const clear: Record<string, string> = {
  'a JWT': jwtOf({ aud: ['a', 'b'], nested: [{ aud: 'x' }] }),
  'a JWT with padding': `e30.${Buffer.from(`${GOOD} `).toString('base64')}.c2ln`,
  'an encrypted token': `${base64url('{"alg":"RSA-OAEP","enc":"A256GCM"}')}.a.b.c.d`,
  'an opaque token': 'opaque',
  'an opaque token of Google': 'ya29.c.c0ASRK0Gb2pq',
  'an opaque token of GitLab': 'glpat-Zm9vYmFyYmF6.01.0w1x2y3z4',
  PASETO: 'v4.public.eyJhdWQiOiJvdGhlciJ9c2ln',
};
for (const [what, token] of Object.entries(clear)) {
  test(`does not count as ambiguous: ${what}`, () => {
    assert.deepEqual(readIssuedClaims(token), { claims: readClaims(token), ambiguous: false });
  });
}

test('finds the members of an object with their texts', () => {
  const text = '{ "a" : 1.50e3 , "b\\"}": {"x":[1,"]}"]},\n"\\u0063":"}", "d":null }';
  const members = jsonMembers(text, 0);
  assert.deepEqual(
    members.map(({ key, valueStart, end }) => [key, text.slice(valueStart, end)]),
    [
      ['a', '1.50e3'],
      ['b"}', '{"x":[1,"]}"]}'],
      ['c', '"}"'],
      ['d', 'null'],
    ],
  );
  assert.deepEqual(jsonMembers('{ }', 0), []);
});

test('removes members, and keeps the bytes of all others', () => {
  const edit = (text: string, name: string) => withoutMembers(text, 0, new Set([name]));
  assert.equal(edit('{"a":1,"b":2.0,"c":3}', 'a'), '{"b":2.0,"c":3}');
  assert.equal(edit('{"a":1,"b":2.0,"c":3}', 'c'), '{"a":1,"b":2.0}');
  assert.equal(edit('{"a":1, "b" : 2.0 ,"c":3}', 'c'), '{"a":1,"b" : 2.0}');
  assert.equal(edit('{ "a":1 }', 'a'), '{  }');
  assert.equal(edit('{}', 'a'), '{}');
});

test('agrees with JSON.parse for any object and any spacing', () => {
  const object = fc.dictionary(fc.string(), fc.jsonValue(), { maxKeys: 6 });
  fc.assert(
    fc.property(object, fc.constantFrom(undefined, 1, '\t'), (value, indent) => {
      const text = ` ${JSON.stringify(value, null, indent)}`;
      const at = skipSpace(text, 0);
      const members = jsonMembers(text, at);
      const read = members.map(({ key, valueStart, end }) => [key, JSON.parse(text.slice(valueStart, end))]);
      assert.deepEqual(read, Object.entries(JSON.parse(text)));
      const [first] = Object.keys(value);
      if (first === undefined) return;
      const { [first]: _removed, ...rest } = JSON.parse(text);
      assert.deepEqual(JSON.parse(withoutMembers(text, at, new Set([first]))), rest);
    }),
  );
});
