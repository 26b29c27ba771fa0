import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SubjectVerification } from '../../../src/config/verification.ts';
import { requesterOf } from '../../../src/tokens/requester.ts';
import { readSubject } from '../../../src/tokens/subject.ts';
import { jwtOf, routeOf, subjectOf, subjectTokenOf } from './sample.ts';

const PEER = '10.0.0.1';

const verify: SubjectVerification = {
  issuer: 'https://idp.example.com',
  audience: 'any',
  jwksUri: undefined,
  ca: undefined,
  allowInsecureHttp: false,
};
const verified = routeOf({ subjectToken: subjectTokenOf({ verify }) });

function callerOf(claims: Record<string, unknown>, route = verified): string | undefined {
  const subject = readSubject('authorization', [`Bearer ${jwtOf(claims)}`]);
  return requesterOf(route, subject, PEER).caller;
}

test('a verified caller with a renewed token is the same caller', () => {
  const claims = { iss: 'https://idp.example.com', sub: 'alice' };
  assert.equal(callerOf({ ...claims, jti: '1' }), callerOf({ ...claims, jti: '2' }));
});

test('verified callers differ by issuer and by subject', () => {
  const callers = [
    { iss: 'https://idp.example.com', sub: 'alice' },
    { iss: 'https://idp.example.com', sub: 'bob' },
    { iss: 'https://other.example.com', sub: 'alice' },
  ].map((claims) => callerOf(claims));
  assert.equal(new Set(callers).size, 3);
});

test('the claims of an unverified token do not identify its caller', () => {
  const claims = { iss: 'https://idp.example.com', sub: 'alice' };
  assert.notEqual(callerOf({ ...claims, jti: '1' }, routeOf()), callerOf({ ...claims, jti: '2' }, routeOf()));
});

test('a verified token without a subject identifies itself', () => {
  const subject = readSubject('authorization', [`Bearer ${jwtOf({ iss: 'https://idp.example.com' })}`]);
  assert.equal(requesterOf(verified, subject, PEER).caller, subject?.digest);
});

test('the peer of a caller is where its connection comes from', () => {
  assert.equal(requesterOf(routeOf(), subjectOf('alice'), PEER).peer, PEER);
});

test('a token from a file, and no token, are cambist itself', () => {
  const own = routeOf({ subjectToken: subjectTokenOf({ file: { file: '/token' } }) });
  for (const requester of [requesterOf(own, subjectOf('agent'), PEER), requesterOf(routeOf(), undefined, PEER)]) {
    assert.deepEqual(requester, { caller: undefined, peer: undefined });
  }
});
