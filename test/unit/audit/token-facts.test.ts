import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Pseudonyms } from '../../../src/audit/recorded-claims.ts';
import { createTokenFacts, witnesses } from '../../../src/audit/token-facts.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import { jwtOf } from '../tokens/sample.ts';

const NAMES = ['iss', 'sub', 'act'];

function factsWith(pseudonymize: Pseudonyms['pseudonymize'] = (_claim, value) => value, names = NAMES) {
  return createTokenFacts(names, { pseudonymize, isReady: true, readKey: async () => false });
}

const subjectOf = (token: string, digest = token) => ({ token: new Secret(token), digest, introspected: undefined });

function issuedOf(token: string, scope?: string): IssuedToken {
  const lifetime = {} as IssuedToken['lifetime'];
  return { authorization: new Secret(`Bearer ${token}`), granted: { audience: [], scope }, lifetime };
}

test('knows nothing about an opaque token', () => {
  const facts = factsWith();
  assert.deepEqual(facts.subject(subjectOf('opaque')), { claims: undefined, actors: undefined });
  assert.deepEqual(facts.issued(issuedOf('opaque')).token, { opaque: true });
  assert.deepEqual(facts.issued(issuedOf('opaque', 'repo')).token, { opaque: true, scope: 'repo' });
});

test('decodes each token once, until it is told to forget', () => {
  let calls = 0;
  const facts = factsWith((_claim, value) => {
    calls += 1;
    return `${value}-${calls}`;
  });
  const caller = subjectOf(jwtOf({ sub: 'alice' }));
  const issued = issuedOf(jwtOf({ sub: 'alice' }));
  const before = [facts.subject(caller), facts.issued(issued)];
  assert.deepEqual([facts.subject(caller), facts.issued(issued)], before);
  const decoded = calls;
  facts.forget();
  assert.notDeepEqual([facts.subject(caller), facts.issued(issued)], before);
  assert.equal(calls, 2 * decoded);
});

test('names a caller by the last introspection of its token', () => {
  const facts = factsWith();
  const subject = subjectOf('opaque');
  const [first, second] = [{ sub: 'alice' }, { sub: 'alice-renamed' }];
  for (const introspected of [first, second, first]) {
    assert.deepEqual(facts.subject({ ...subject, introspected }).claims, introspected);
  }
  assert.equal(facts.subject(subject).claims, undefined);
  assert.equal(facts.subject({ ...subject, introspected: first }), facts.subject({ ...subject, introspected: first }));
});

test('tells callers apart by their digests, not by their claims', () => {
  const facts = factsWith();
  facts.subject(subjectOf(jwtOf({ sub: 'alice' }), 'digest-1'));
  assert.deepEqual(facts.subject(subjectOf(jwtOf({ sub: 'bob' }), 'digest-2')).claims, { sub: 'bob' });
});

test('leaves out parts of another type, and an id that looks like a token', () => {
  for (const claims of [
    { jti: 7, exp: '1' },
    { jti: jwtOf({}), exp: null },
    { aud: [7], scope: {} },
  ]) {
    const { token } = factsWith().issued(issuedOf(jwtOf(claims)));
    assert.equal(JSON.stringify(token), '{}', JSON.stringify(claims));
  }
});

test('stays small, never throws and shows no token, whatever the claims are', () => {
  const stolen = jwtOf({ sub: 'stolen' });
  const hostile = fc.dictionary(
    fc.constantFrom('iss', 'sub', 'act', 'aud', 'scope', 'scp', 'exp', 'jti', '__proto__', 'toString'),
    fc.oneof(
      fc.jsonValue(),
      fc.constantFrom<unknown>(stolen, [stolen], { sub: stolen }),
      fc.string({ minLength: 300, maxLength: 5000 }),
    ),
  );
  fc.assert(
    fc.property(hostile, (claims) => {
      const facts = factsWith();
      const subject = facts.subject(subjectOf(jwtOf(claims)));
      const issued = facts.issued(issuedOf(jwtOf(claims), stolen));
      const text = JSON.stringify([subject, issued, witnesses({ facts: subject, isVerified: false }, issued)]);
      assert.ok(!text.includes(stolen), text);
      assert.ok(text.length < 100_000, `${text.length} characters`);
    }),
  );
});

test('reads no claims from any text that is not a JWT', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[\w.-]{0,60}$/)), (token) => {
      const { claims } = factsWith().subject(subjectOf(token));
      assert.equal(claims, undefined);
    }),
  );
});

const facts = factsWith();
const unverified = (token: string) => ({ facts: facts.subject(subjectOf(token)), isVerified: false });
const issuedFor = (claims: Record<string, unknown>) => facts.issued(issuedOf(jwtOf(claims)));

/** Without missing witnesses, as in a record. */
const recorded = (...of: Parameters<typeof witnesses>) => JSON.parse(JSON.stringify(witnesses(...of)));

test('takes the subject from an issued token, unless it names none or no caller has caused it', () => {
  assert.deepEqual(recorded(unverified(jwtOf({ sub: 'mallory' })), issuedFor({ iss: 'https://idp' })), {
    subject: { verified: false, from: 'caller_token', claims: { sub: 'mallory' } },
  });
  assert.deepEqual(recorded(unverified('opaque'), issuedFor({ sub: 'alice' })), {
    subject: { verified: true, from: 'issued_token', claims: { sub: 'alice' } },
  });
  assert.deepEqual(recorded(undefined, issuedFor({ sub: 'cambist' })), {});
  assert.deepEqual(recorded(undefined, undefined), {});
});

test('prefers the actor of the issued token to that of the caller', () => {
  const acted = unverified(jwtOf({ sub: 'alice', act: { sub: 'agent' } }));
  const byIssued = { verified: true, from: 'issued_token', claims: { sub: 'cambist' } };
  const byCaller = { verified: false, from: 'caller_token', claims: { sub: 'agent' } };
  assert.deepEqual(witnesses(acted, issuedFor({ act: { sub: 'cambist' } })).actor, byIssued);
  assert.deepEqual(witnesses(acted, undefined).actor, byCaller);
});
