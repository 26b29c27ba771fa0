import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { parseSpiffeId, spiffeIdOf } from '../../../src/spiffe/spiffe-id.ts';

/** The rules of the SPIFFE ID specification, section 2. */
const VALID: readonly (readonly [string, string, string])[] = [
  ['spiffe://example.org', 'example.org', ''],
  ['spiffe://staging.example.com/payments/mysql', 'staging.example.com', '/payments/mysql'],
  ['spiffe://k8s-west.example.com/ns/staging/sa/default', 'k8s-west.example.com', '/ns/staging/sa/default'],
  ['spiffe://example.com/9eebccd2-12bf-40a6-b262-65fe0487d453', 'example.com', '/9eebccd2-12bf-40a6-b262-65fe0487d453'],
  ['spiffe://trust_domain-0.a/Path_1.b-C', 'trust_domain-0.a', '/Path_1.b-C'],
  ['spiffe://10.0.0.1/a', '10.0.0.1', '/a'],
  ['spiffe://a..b/c', 'a..b', '/c'],
  ['spiffe://td/...', 'td', '/...'],
  ['spiffe://td/.a/..b/c.', 'td', '/.a/..b/c.'],
  [`spiffe://${'t'.repeat(255)}/a`, 't'.repeat(255), '/a'],
  [`spiffe://td/${'a'.repeat(2036)}`, 'td', `/${'a'.repeat(2036)}`],
];

const INVALID: readonly (readonly [why: string, id: string])[] = [
  ['empty', ''],
  ['another scheme', 'https://td/a'],
  ['no scheme', 'td/a'],
  ['one slash', 'spiffe:/td/a'],
  ['a scheme in upper case', 'SPIFFE://td/a'],
  ['an empty trust domain', 'spiffe:///a'],
  ['no trust domain', 'spiffe://'],
  ['a trust domain in upper case', 'spiffe://Td/a'],
  ['a user', 'spiffe://user@td/a'],
  ['a port', 'spiffe://td:8080/a'],
  ['an IPv6 address', 'spiffe://[::1]/a'],
  ['an escape in the trust domain', 'spiffe://t%64/a'],
  ['a letter outside ASCII in the trust domain', 'spiffe://tdé/a'],
  ['a trailing slash', 'spiffe://td/a/'],
  ['only a slash', 'spiffe://td/'],
  ['an empty segment', 'spiffe://td//a'],
  ['a dot segment', 'spiffe://td/./a'],
  ['a last dot segment', 'spiffe://td/a/.'],
  ['two dots', 'spiffe://td/a/../b'],
  ['last two dots', 'spiffe://td/..'],
  ['an escape in the path', 'spiffe://td/%61'],
  ['a letter outside ASCII in the path', 'spiffe://td/é'],
  ['a comma', 'spiffe://td/a,b'],
  ['a query', 'spiffe://td/a?b'],
  ['an empty query', 'spiffe://td/a?'],
  ['a fragment', 'spiffe://td/a#b'],
  ['a space before', ' spiffe://td/a'],
  ['a line end after', 'spiffe://td/a\n'],
  ['a null byte', 'spiffe://td/a\0'],
  ['a trust domain of 256 characters', `spiffe://${'t'.repeat(256)}/a`],
  ['more than 2048 characters', `spiffe://td/${'a'.repeat(2037)}`],
];

describe('a SPIFFE ID', () => {
  for (const [id, trustDomain, path] of VALID) {
    test(`${id.slice(0, 60)} is valid`, () => {
      assert.deepEqual(parseSpiffeId(id), { id, trustDomain, path });
    });
  }
  for (const [why, id] of INVALID) {
    test(`with ${why} is invalid`, () => assert.equal(parseSpiffeId(id), undefined));
  }
});

/** As Node prints the names of a certificate. */
const CERTIFICATES: readonly (readonly [
  what: string,
  names: string | undefined,
  id: string | undefined,
  ca?: boolean,
])[] = [
  ['one SPIFFE ID', 'URI:spiffe://td/a', 'spiffe://td/a'],
  ['host names and one SPIFFE ID', 'DNS:a.example.com, URI:spiffe://td/a, IP Address:10.0.0.1', 'spiffe://td/a'],
  ['two SPIFFE IDs', 'URI:spiffe://td/a, URI:spiffe://td/b', undefined],
  ['a SPIFFE ID and another URI', 'URI:spiffe://td/a, URI:https://example.com/', undefined],
  ['a SPIFFE ID as a host name', 'DNS:URI:spiffe://td/a', undefined],
  ['a SPIFFE ID after a comma in a host name', 'DNS:"a\\u002c URI:spiffe://td/a"', undefined],
  ['a second SPIFFE ID after a comma', 'URI:"spiffe://td/a\\u002c URI:spiffe://td/b"', undefined],
  ['a trust domain', 'URI:spiffe://td', undefined],
  ['an invalid SPIFFE ID', 'URI:spiffe://td/a?b', undefined],
  ['no names', undefined, undefined],
  ['a SPIFFE ID, of a CA', 'URI:spiffe://td/a', undefined, true],
];

describe('a certificate with', () => {
  for (const [what, subjectAltName, id, ca = false] of CERTIFICATES) {
    test(`${what} ${id === undefined ? 'has no identity' : 'has this identity'}`, () => {
      assert.equal(spiffeIdOf({ ca, subjectAltName: subjectAltName as string })?.id, id);
    });
  }
});
