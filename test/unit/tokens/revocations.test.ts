import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Revocation, RevocationEntry } from '../../../src/tokens/revocation-list.ts';
import { createRevocations } from '../../../src/tokens/revocations.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith, jwtOf } from './sample.ts';

const ISSUER = 'https://idp.example.com';
const HOUR = 3_600_000;
const NOW = Math.floor(createFakeClock().wallMs() / 1000);
const OTHER = 'https://other.example.com';
const USERS = Array.from({ length: 10 }, (_, i) => `user-${i}`);

type Claims = Record<string, unknown>;

function start({ max = 100, clock = createFakeClock(), isComplete = (): boolean => true } = {}) {
  const full: string[] = [];
  const added: RevocationEntry[] = [];
  /** The digests that were told at once. */
  const told: string[][] = [];
  const pending: (() => void)[] = [];
  const revocations = createRevocations({
    clock,
    rememberMs: 24 * HOUR,
    max,
    soon: (run) => pending.push(run),
    onFull: (issuer) => full.push(issuer),
    onAdded: (entry) => added.push(entry),
    isComplete,
  });
  revocations.onRevoked((digests) => told.push([...digests]));
  /** A token that was issued a minute ago. */
  const token = (claims: Claims = {}) => toSubject(jwtOf({ iss: ISSUER, sub: 'alice', iat: NOW - 60, ...claims }));
  const revoke = (fields: Partial<Revocation> = {}) =>
    revocations.revoke({
      issuer: ISSUER,
      subject: { claim: 'sub', value: 'alice' },
      session: undefined,
      atMs: clock.wallMs(),
      ...fields,
    });
  const revokeUser = (value: string, fields: Partial<Revocation> = {}) =>
    revoke({ subject: { claim: 'sub', value }, ...fields });
  const runPending = () => {
    for (const run of pending.splice(0)) run();
  };
  return { clock, revocations, token, revoke, revokeUser, full, added, told, pending, runPending };
}

/** Two lists with one clock. */
function startTwo(max = 100) {
  const one = start({ max });
  return [one, start({ clock: one.clock })] as const;
}

const COVERED: [what: string, revocation: Partial<Revocation>, revoked: Claims[], admitted: Claims[]][] = [
  [
    'the older tokens of a subject, and no newer one and none of another',
    {},
    [{}, { sid: 's1' }, { iat: undefined }, { iat: 'soon' }],
    [{ iat: NOW + 2 }, { sub: 'bob' }, { iss: OTHER }, { sub: undefined }],
  ],
  ['one session, and tokens of its subject that name none', { session: 's1' }, [{ sid: 's1' }, {}], [{ sid: 's2' }]],
  ['a session without a subject', { session: 's1', subject: undefined }, [{ sid: 's1' }], [{}]],
  [
    'tokens by email, whatever its case',
    { subject: { claim: 'email', value: 'alice@example.com' } },
    [{ email: 'Alice@Example.com' }],
    [{ sub: 'alice@example.com' }],
  ],
  [
    'no tokens of later than a minute, whatever its date',
    { atMs: Number.MAX_VALUE },
    [{ iat: NOW + 59 }],
    [{ iat: NOW + 62 }],
  ],
];
for (const [what, revocation, revoked, admitted] of COVERED) {
  test(`revokes ${what}, and tells the other replicas the same`, () => {
    const [one, other] = startTwo();
    assert.equal(one.revoke(revocation), true);
    other.revocations.restore(one.added.map((entry) => ({ ...entry, atMs: revocation.atMs ?? entry.atMs })));
    for (const { isRevoked } of [one.revocations, other.revocations]) {
      for (const claims of revoked) assert.ok(isRevoked(one.token(claims)), JSON.stringify(claims));
      for (const claims of admitted) assert.ok(!isRevoked(one.token(claims)), JSON.stringify(claims));
      assert.ok(!isRevoked(toSubject('opaque')));
    }
  });
}

test('takes a token by its own name and by that of its introspection', () => {
  for (const sub of ['a pairwise name', 'alice']) {
    const { revocations, token, revokeUser, told, pending, runPending } = start();
    const subject = token({ sub: 'alice', sid: 's1' });
    subject.introspected = { iss: ISSUER, sub: 'a pairwise name' };
    revocations.check(subject);
    // The same token on a route without introspection.
    const plain = token({ sub: 'alice', sid: 's1' });
    revocations.check(plain);
    revokeUser(sub);
    assert.ok(revocations.isRevoked(subject), sub);
    assert.ok(revocations.isRevoked(plain), sub);
    assert.equal(pending.length, 1);
    runPending();
    assert.deepEqual(told, [[subject.digest]]);
  }
});

test('takes an opaque token by the introspection of another route, also after the search for revoked tokens', () => {
  const { revocations, revoke, runPending } = start();
  const plain = toSubject('opaque');
  revocations.check(plain);
  const introspected = toSubject('opaque');
  introspected.introspected = { iss: ISSUER, sub: 'alice', iat: 1 };
  revocations.check(introspected);
  revoke();
  for (const run of [() => {}, runPending]) {
    run();
    // The same connection as before, and another one.
    for (const subject of [plain, toSubject('opaque')]) {
      assert.throws(() => revocations.check(subject), failsWith('ERR_SUBJECT_TOKEN_INVALID', /revoked/));
    }
  }
});

test('keeps the session and the time of a token whose introspection states neither', () => {
  const { revocations, token, revoke, revokeUser } = start();
  const later = token({ sub: 'alice', sid: 's2', iat: NOW + 2 });
  later.introspected = { iss: ISSUER, sub: 'alice' };
  revoke();
  assert.ok(!revocations.isRevoked(later));
  const other = token({ sub: 'bob', sid: 's2' });
  other.introspected = { iss: ISSUER, sub: 'bob' };
  revokeUser('bob', { session: 's1' });
  assert.ok(!revocations.isRevoked(other));
  revoke({ subject: undefined, session: 's2' });
  assert.ok(revocations.isRevoked(other));
});

test('changes nothing at a replay, an older event, and one beyond the time to remember', () => {
  const { revocations, revoke, revokeUser, clock } = start();
  const atMs = clock.wallMs();
  assert.equal(revoke({ atMs }), true);
  assert.equal(revoke({ atMs }), false);
  assert.equal(revoke({ atMs: atMs - HOUR }), false);
  assert.equal(revokeUser('bob', { atMs: atMs - 25 * HOUR }), false);
  assert.equal(revocations.size, 1);
});

test('forgets no revocation because the wall clock is set forward for a while', () => {
  const { revocations, token, revokeUser, clock } = start({ max: 2 });
  for (const value of ['alice', 'bob', 'carol']) revokeUser(value);
  clock.jumpWall(48 * HOUR);
  revocations.sweep();
  clock.jumpWall(-48 * HOUR);
  for (const sub of ['alice', 'bob', 'carol']) assert.ok(revocations.isRevoked(token({ sub })), sub);
  clock.advance(24 * HOUR);
  revocations.sweep();
  assert.equal(revocations.size + revocations.fullIssuers, 0);
});

test('checks a token again when an introspection has stated its claims', () => {
  const { revocations, token, revoke } = start();
  const subject = token({ sub: 'an alias' });
  revoke();
  revocations.check(subject);
  subject.introspected = { iss: ISSUER, sub: 'alice' };
  assert.throws(() => revocations.check(subject), failsWith('ERR_SUBJECT_TOKEN_INVALID', /revoked/));
});

test('checks a token again only after the next revocation, also one without the time of its issue', () => {
  const { revocations, token, revoke, revokeUser } = start();
  const subjects = [token(), token({ iat: undefined })];
  for (const subject of subjects) revocations.check(subject);
  revokeUser('bob');
  for (const subject of subjects) revocations.check(subject);
  revoke();
  for (const subject of [...subjects, ...subjects]) {
    assert.throws(() => revocations.check(subject), failsWith('ERR_SUBJECT_TOKEN_INVALID', /revoked/));
  }
});

test('tells which tokens in use were revoked, once for several revocations', () => {
  const { revocations, token, revoke, revokeUser, told, pending, runPending } = start();
  const [alice, bob] = [token(), token({ sub: 'bob' })];
  for (const subject of [alice, bob]) revocations.check(subject);
  revoke();
  revokeUser('carol');
  assert.equal(pending.length, 1);
  runPending();
  assert.deepEqual(told, [[alice.digest]]);
  revokeUser('bob');
  runPending();
  // A token that was revoked before stays known, and is told again.
  assert.deepEqual(
    told.map((digests) => new Set(digests)),
    [new Set([alice.digest]), new Set([alice.digest, bob.digest])],
  );
});

test('revokes a token that was issued in the moment of the revocation, or with those that made room', () => {
  const { revocations, token, revoke, revokeUser } = start({ max: 2 });
  const atMs = NOW * 1000;
  revoke({ atMs });
  assert.ok(revocations.isRevoked(token({ iat: NOW })));
  for (const value of ['bob', 'carol']) revokeUser(value, { atMs });
  assert.equal(revocations.fullIssuers, 1);
  assert.ok(revocations.isRevoked(token({ sub: 'unnamed', iat: NOW })));
});

test('refuses all older tokens of an issuer in place of revocations that it has no room for', () => {
  const { revocations, token, revokeUser, full, clock } = start({ max: 10 });
  for (const user of [...USERS, 'one more']) revokeUser(user);
  assert.deepEqual(full, [ISSUER]);
  assert.ok(revocations.size <= 10);
  assert.ok(revocations.isRevoked(token({ sub: 'unnamed' })));
  assert.ok(!revocations.isRevoked(token({ sub: 'unnamed', iat: NOW + 2 })));
  assert.ok(!revocations.isRevoked(token({ iss: OTHER })));
  assert.equal(revocations.fullIssuers, 1);
  clock.advance(24 * HOUR + 1);
  revocations.sweep();
  assert.ok(!revocations.isRevoked(token({ sub: 'unnamed' })));
});

test('makes room with the older half of the revocations, and none where it has room', () => {
  const { revocations, token, revokeUser, full, clock } = start({ max: 10 });
  for (const user of [...USERS, 'user-0', 'one more']) {
    assert.deepEqual(full, []);
    clock.advance(10_000);
    revokeUser(user);
  }
  // User 0 was revoked again, so users 1 to 5 are the older half.
  assert.ok(revocations.isRevoked(token({ sub: 'unnamed', iat: NOW + 59 })));
  assert.ok(!revocations.isRevoked(token({ sub: 'unnamed', iat: NOW + 61 })));
  assert.equal(revocations.size, 6);
});

test('makes room with revocations whose time has passed first', () => {
  const { revocations, token, revoke, revokeUser, full, clock } = start({ max: 10 });
  for (const user of USERS) revokeUser(user);
  clock.advance(24 * HOUR + 1);
  revoke();
  assert.deepEqual(full, []);
  assert.equal(revocations.size, 1);
  assert.ok(!revocations.isRevoked(token({ sub: 'unnamed', iat: NOW })));
});

test('makes room for one issuer with its own revocations alone', () => {
  const { revocations, token, revoke, revokeUser, full } = start({ max: 10 });
  revoke({ issuer: OTHER });
  for (let i = 0; i < 40; i += 1) {
    if (i === 8) revoke({ issuer: 'https://third.example.com' });
    revokeUser(`user-${i}`);
  }
  assert.deepEqual(new Set(full), new Set([ISSUER]));
  assert.ok(revocations.size <= 10);
  assert.ok(revocations.isRevoked(token({ iss: OTHER })));
  assert.ok(!revocations.isRevoked(token({ iss: OTHER, sub: 'bob' })));
  assert.ok(revocations.isRevoked(token({ sub: 'user-0' })));
});

test('searches once for revocations that arrive one by one', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  const clock = createFakeClock();
  const revocations = createRevocations({ clock, rememberMs: HOUR });
  let searches = 0;
  revocations.onRevoked(() => (searches += 1));
  for (const value of ['alice', 'bob', 'carol']) {
    revocations.revoke({ issuer: ISSUER, subject: { claim: 'sub', value }, session: undefined, atMs: clock.wallMs() });
    t.mock.timers.tick(10);
  }
  assert.equal(searches, 0);
  t.mock.timers.tick(100);
  assert.equal(searches, 1);
});

test('never admits what a revocation covers, however many follow', () => {
  const names = fc.constantFrom('a', 'b', 'c', 'd');
  const event = fc.record({
    sub: names,
    sid: fc.option(names, { nil: undefined }),
    ago: fc.integer({ min: 0, max: 7200 }),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 30 }), fc.integer({ min: 2, max: 6 }), (events, max) => {
      const { revocations, token, revokeUser, clock } = start({ max });
      for (const { sub, sid, ago } of events) {
        revokeUser(sub, { session: sid, atMs: clock.wallMs() - ago * 1000 });
      }
      for (const { sub, sid, ago } of events) {
        const iat = NOW - ago - 1;
        assert.ok(revocations.isRevoked(token({ sub, sid, iat })));
      }
      assert.ok(!revocations.isRevoked(token({ sub: 'a', sid: 'z', iat: NOW + 1 })));
    }),
  );
});

test('the entries of another replica are told to no replica again', () => {
  const [one, other] = startTwo();
  one.revokeUser('alice', { session: 's1' });
  one.revokeUser('bob');
  assert.deepEqual(one.revocations.list(), one.added);
  assert.equal(one.added.length, 3);
  assert.ok(!/alice|s1/.test(JSON.stringify(one.added)), 'an entry names no user');
  const inUse = one.token({ sid: 's1' });
  other.revocations.check(inUse);
  assert.equal(other.revocations.restore(one.added), 3);
  other.runPending();
  assert.deepEqual(other.told, [[inUse.digest]]);
  assert.equal(other.revocations.restore(one.added), 0);
  assert.deepEqual(other.added, []);
});

test('a revocation whose time has passed revokes nothing, is not listed, and changes no other replica', () => {
  const [one, other] = startTwo();
  one.revokeUser('alice');
  one.clock.advance(24 * HOUR + 1);
  assert.ok(!one.revocations.isRevoked(one.token()));
  assert.deepEqual(one.revocations.list(), []);
  assert.equal(other.revocations.restore(one.added), 0);
});

test('an entry without a key revokes all older tokens of its issuer', () => {
  const [one, other] = startTwo(10);
  for (const user of [...USERS, 'one more']) one.revokeUser(user);
  const floors = one.added.filter(({ key }) => key === '');
  assert.deepEqual(
    floors.map(({ issuer }) => issuer),
    [ISSUER],
  );
  assert.ok(one.revocations.list().some(({ key }) => key === ''));
  other.revocations.restore(floors);
  assert.ok(other.revocations.isRevoked(one.token({ sub: 'anybody' })));
  assert.ok(!other.revocations.isRevoked(one.token({ iss: OTHER })));
});

test('refuses every token until the kept revocations are known', () => {
  let isComplete = false;
  const { revocations, token: tokenOf } = start({ isComplete: () => isComplete });
  const token = tokenOf();
  assert.throws(() => revocations.check(token), failsWith('ERR_REVOCATIONS_UNKNOWN', /cache\.shared/));
  isComplete = true;
  revocations.check(token);
});
