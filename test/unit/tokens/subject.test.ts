import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import type { ErrorCode } from '../../../src/error-catalogue.ts';
import type { CambistError } from '../../../src/errors.ts';
import { checkExpiry, createSubjectReader, readSubject } from '../../../src/tokens/subject.ts';
import { requesterOf } from '../../../src/tokens/token-request.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, jwtOf, routeOf, subjectOf, subjectTokenOf, verificationOf } from './sample.ts';

const digestOf = (token: string): string => createHash('sha256').update(token).digest('base64url');

const accepted: [header: string, value: string, token: string | undefined][] = [
  ['authorization', 'Bearer abc', 'abc'],
  ['authorization', 'BEARER   abc==', 'abc=='],
  ['authorization', 'Bearer a-b._~+/c ', 'a-b._~+/c'],
  ['x-user-token', 'Bearer abc', 'abc'],
  ['x-user-token', 'abc', 'abc'],
  ['x-user-token', ' abc ', 'abc'],
  ['authorization', '', undefined],
];
for (const [header, value, token] of accepted) {
  test(`reads ${token ?? 'no token'} from "${header}: ${value}"`, () => {
    const subject = readSubject(header, [value]);
    assert.equal(subject?.token.reveal(), token);
    assert.equal(subject?.digest, token && digestOf(token));
    assert.equal(subject?.expiresAtMs, undefined);
  });
}

const malformed: [header: string, values: string[], code?: ErrorCode][] = [
  ['authorization', ['Basic dTpw'], 'ERR_SUBJECT_TOKEN_MISSING'],
  ['authorization', ['abc'], 'ERR_SUBJECT_TOKEN_MISSING'],
  ['authorization', ['Bearerabc'], 'ERR_SUBJECT_TOKEN_MISSING'],
  ['authorization', ['Bearer']],
  ['authorization', ['Bearer ']],
  ['authorization', ['Bearer a b']],
  ['authorization', ['Bearer a,b']],
  ['authorization', ['Bearer =a']],
  ['authorization', ['Bearer tökén']],
  ['authorization', ['Bearer a', 'Bearer a']],
  ['x-user-token', ['']],
  ['x-user-token', ['a', 'b']],
  ['x-user-token', ['Basic dTpw']],
  ['authorization', [`Bearer ${jwtOf({ exp: 'soon' })}`]],
  ['authorization', [`Bearer ${jwtOf({ exp: null })}`]],
];
for (const [header, values, code = 'ERR_SUBJECT_TOKEN_INVALID'] of malformed) {
  test(`refuses ${header} ${JSON.stringify(values)} with ${code}`, () => {
    assert.throws(() => readSubject(header, values), failsWith(code));
  });
}

const bound: [header: string, value: string, message: RegExp][] = [
  ['authorization', 'DPoP abc', /has the scheme DPoP/],
  ['authorization', 'dpop abc', /has the scheme DPoP/],
  ['authorization', `Bearer ${jwtOf({ cnf: { jkt: 'thumbprint' } })}`, /is bound to a key \(DPoP\)/],
  ['x-user-token', jwtOf({ cnf: { 'x5t#S256': 'thumbprint' } }), /is bound to a certificate \(mutual TLS\)/],
];
for (const [header, value, message] of bound) {
  test(`refuses a token that is bound to its holder: ${message}`, () => {
    assert.throws(
      () => readSubject(header, [value]),
      (error: Error) => {
        failsWith('ERR_SUBJECT_TOKEN_INVALID', message)(error);
        return /obtain a plain bearer token/.test(error.message);
      },
    );
  });
}

test('accepts a token with a missing or unknown confirmation method', () => {
  for (const cnf of [undefined, null, 7, 'x', [], {}, { kid: 'x' }]) {
    assert.ok(readSubject('authorization', [`Bearer ${jwtOf({ cnf })}`]) !== undefined);
  }
});

test('reads the expiry of a JWT in milliseconds', () => {
  assert.equal(readSubject('authorization', [`Bearer ${jwtOf({ exp: 1_700_000_000.5 })}`])?.expiresAtMs, 1.7e12 + 500);
});

test('a printed subject does not contain its token', () => {
  const subject = subjectOf('alice');
  const printed = [inspect(subject), JSON.stringify(subject), `${subject.token}`].join();
  assert.ok(!printed.includes(subject.token.reveal()));
});

test('any header is refused, or contains a well-formed token', () => {
  fc.assert(
    fc.property(fc.constantFrom('authorization', 'x-user-token'), fc.array(fc.string()), (header, values) => {
      try {
        const subject = readSubject(header, values);
        if (subject !== undefined) assert.match(subject.token.reveal(), /^[A-Za-z0-9._~+/-]+=*$/);
      } catch (error) {
        const { code } = error as CambistError;
        assert.match(code, /^ERR_SUBJECT_TOKEN_(?:INVALID|MISSING)$/);
      }
    }),
  );
});

test('a subject token counts as expired five seconds after its expiry, and never without one', () => {
  const clock = createFakeClock();
  const subject = subjectOf('alice', clock.wallMs() + 1000);
  checkExpiry(subject, clock);
  clock.advance(5999);
  checkExpiry(subject, clock);
  clock.advance(1);
  assert.throws(() => checkExpiry(subject, clock), failsWith('ERR_SUBJECT_TOKEN_INVALID'));
  checkExpiry(subjectOf('alice'), clock);
});

test('reads a header of a connection once, and reuses no token for another connection, header or value', () => {
  const read = createSubjectReader();
  const connection = {};
  const first = read(connection, 'authorization', ['Bearer abc']);
  assert.equal(read(connection, 'authorization', ['Bearer abc']), first);
  assert.notEqual(read({}, 'authorization', ['Bearer abc']), first);
  assert.equal(read(connection, 'authorization', []), undefined);
  assert.equal(read(connection, 'authorization', ['Bearer abd'])?.token.reveal(), 'abd');
  assert.equal(read(connection, 'x-user-token', ['Bearer abd'])?.token.reveal(), 'abd');
  assert.throws(() => read(connection, 'x-user-token', ['Bearer abd', 'Bearer abd']));
});

test('reads a known token on another connection with the same result', () => {
  const read = createSubjectReader();
  const expiring = `Bearer ${jwtOf({ exp: 1_700_000_000 })}`;
  const bound = `Bearer ${jwtOf({ cnf: { jkt: 'abc' } })}`;
  for (const connection of [{}, {}]) {
    assert.equal(read(connection, 'authorization', [expiring])?.expiresAtMs, 1.7e12);
    assert.throws(() => read(connection, 'authorization', [bound]), failsWith('ERR_SUBJECT_TOKEN_INVALID'));
  }
});

const PEER = '10.0.0.1';

const verified = routeOf({ subjectToken: subjectTokenOf({ verify: verificationOf() }) });

function callerOf(claims: Record<string, unknown>, route = verified): string | undefined {
  const subject = readSubject('authorization', [`Bearer ${jwtOf(claims)}`]);
  return requesterOf(route, subject, PEER).caller;
}

test('issuer and subject of a verified token identify its caller, and those of another token do not', () => {
  const alice = { iss: 'https://idp.example.com', sub: 'alice' };
  assert.equal(callerOf({ ...alice, jti: '1' }), callerOf({ ...alice, jti: '2' }));
  for (const other of [{ sub: 'bob' }, { iss: 'https://other.example.com' }]) {
    assert.notEqual(callerOf(alice), callerOf({ ...alice, ...other }));
  }
  assert.notEqual(callerOf({ ...alice, jti: '1' }, routeOf()), callerOf({ ...alice, jti: '2' }, routeOf()));
});

test('a verified token without a subject identifies itself', () => {
  const token = jwtOf({ iss: 'https://idp.example.com' });
  assert.equal(callerOf({ iss: 'https://idp.example.com' }), digestOf(token));
});

test('a caller has the peer of its connection, and a token from a file and no token are cambist itself', () => {
  assert.equal(requesterOf(routeOf(), subjectOf('alice'), PEER).peer, PEER);
  const own = routeOf({ subjectToken: subjectTokenOf({ own: { file: '/token' } }) });
  for (const requester of [requesterOf(own, subjectOf('agent'), PEER), requesterOf(routeOf(), undefined, PEER)]) {
    assert.deepEqual(requester, { caller: undefined, peer: undefined });
  }
});
