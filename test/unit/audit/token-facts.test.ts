import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Pseudonyms } from '../../../src/audit/recorded-claims.ts';
import { createTokenFacts, witnesses } from '../../../src/audit/token-facts.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';

const NAMES = ['iss', 'sub', 'act'];

const jwt = (claims: object): string => {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${part({ alg: 'RS256' })}.${part(claims)}.c2ln`;
};

function factsWith(pseudonymize: Pseudonyms['pseudonymize'] = (_claim, value) => value, names = NAMES) {
  return createTokenFacts(names, { pseudonymize, isReady: true, readKey: async () => false });
}

const subjectOf = (token: string, digest = token) => ({ token: new Secret(token), digest, introspected: undefined });

function issuedOf(token: string, scope?: string): IssuedToken {
  const lifetime = {} as IssuedToken['lifetime'];
  return { authorization: new Secret(`Bearer ${token}`), granted: { audience: [], scope }, lifetime };
}

test('reads the configured claims and the actors of a caller', () => {
  const token = jwt({ iss: 'https://idp', sub: 'alice', email: 'a@example.com', act: { sub: 'agent' } });
  assert.deepEqual(factsWith().subject(subjectOf(token)), {
    claims: { iss: 'https://idp', sub: 'alice', act: { sub: 'agent' } },
    actors: { sub: 'agent' },
  });
});

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
  const caller = subjectOf(jwt({ sub: 'alice' }));
  const issued = issuedOf(jwt({ sub: 'alice' }));
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
  facts.subject(subjectOf(jwt({ sub: 'alice' }), 'digest-1'));
  assert.deepEqual(facts.subject(subjectOf(jwt({ sub: 'bob' }), 'digest-2')).claims, { sub: 'bob' });
});

test('names the parts of an issued token that identify it', () => {
  const claims = {
    jti: 'id-1',
    aud: ['github', 7],
    scope: 'repo',
    exp: 1_800_000_000,
    sub: 'alice',
    act: { sub: 'a' },
  };
  const { token, namesSubject } = factsWith().issued(issuedOf(jwt(claims)));
  const act = { sub: 'a' };
  assert.deepEqual(token, { jti: 'id-1', aud: ['github'], scope: 'repo', exp: 1_800_000_000, act });
  assert.equal(namesSubject, true);
});

test('leaves out parts of another type, and an id that looks like a token', () => {
  for (const claims of [
    { jti: 7, exp: '1' },
    { jti: jwt({}), exp: null },
    { aud: [], scope: {} },
  ]) {
    const { token } = factsWith().issued(issuedOf(jwt(claims)));
    assert.equal(JSON.stringify(token), '{}', JSON.stringify(claims));
  }
});

test('stays small, never throws and shows no token, whatever the claims are', () => {
  const stolen = jwt({ sub: 'stolen' });
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
      const subject = facts.subject(subjectOf(jwt(claims)));
      const issued = facts.issued(issuedOf(jwt(claims), stolen));
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
const caller = (isVerified: boolean, claims?: object) => ({
  facts: facts.subject(subjectOf(claims === undefined ? 'opaque' : jwt(claims))),
  isVerified,
});
const issuedFor = (claims: object) => facts.issued(issuedOf(jwt(claims)));

/** Without missing witnesses, as in a record. */
const recorded = (...of: Parameters<typeof witnesses>) => JSON.parse(JSON.stringify(witnesses(...of)));

test('names a verified caller by its own token', () => {
  assert.deepEqual(recorded(caller(true, { sub: 'alice' }), issuedFor({ sub: 'a-1' })), {
    subject: { verified: true, from: 'caller_token', claims: { sub: 'alice' } },
  });
});

test('names an unverified caller by the issued token, and its own claims as unverified', () => {
  assert.deepEqual(recorded(caller(false, { sub: 'mallory' }), issuedFor({ sub: 'alice' })), {
    subject: { verified: true, from: 'issued_token', claims: { sub: 'alice' } },
    caller: { verified: false, from: 'caller_token', claims: { sub: 'mallory' } },
  });
  assert.deepEqual(recorded(caller(false), issuedFor({ sub: 'alice' })), {
    subject: { verified: true, from: 'issued_token', claims: { sub: 'alice' } },
  });
});

test('takes no subject from an issued token that names none, or that no caller has caused', () => {
  assert.deepEqual(recorded(caller(false, { sub: 'mallory' }), issuedFor({ iss: 'https://idp' })), {
    subject: { verified: false, from: 'caller_token', claims: { sub: 'mallory' } },
  });
  assert.deepEqual(recorded(undefined, issuedFor({ sub: 'cambist' })), {});
  assert.deepEqual(recorded(undefined, undefined), {});
});

test('prefers the actor of the issued token to that of the caller', () => {
  const acted = { sub: 'alice', act: { sub: 'agent' } };
  assert.deepEqual(witnesses(caller(false, acted), issuedFor({ act: { sub: 'cambist' } })).actor, {
    verified: true,
    from: 'issued_token',
    claims: { sub: 'cambist' },
  });
  assert.deepEqual(witnesses(caller(false, acted), undefined).actor, {
    verified: false,
    from: 'caller_token',
    claims: { sub: 'agent' },
  });
});
