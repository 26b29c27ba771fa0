import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RevocationEntry } from '../../../src/tokens/revocation-list.ts';
import { createRevocations, type Revocations } from '../../../src/tokens/revocations.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { createFakeClock, type FakeClock } from '../../harness/fake-clock.ts';
import { failsWith } from './sample.ts';

const ISSUER = 'https://idp.example.com';
const DAY = 24 * 3_600_000;

function start(clock: FakeClock, options: { max?: number; isComplete?: () => boolean } = {}) {
  const added: RevocationEntry[] = [];
  const revocations = createRevocations({
    clock,
    rememberMs: DAY,
    soon: (run) => run(),
    onAdded: (entry) => added.push(entry),
    ...options,
  });
  return { revocations, added };
}

function tokenOf(clock: FakeClock, claims: Record<string, unknown>) {
  const all = { iss: ISSUER, sub: 'alice', iat: Math.floor(clock.wallMs() / 1000) - 60, ...claims };
  const parts = [{ alg: 'ES256' }, all].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  return toSubject(`${parts.join('.')}.c2ln`);
}

function revoke(revocations: Revocations, clock: FakeClock, sub: string, session?: string): void {
  revocations.revoke({ issuer: ISSUER, subject: { claim: 'sub', value: sub }, session, atMs: clock.wallMs() });
}

test('the entries of one replica revoke the same tokens at another, which tells none of them', () => {
  const clock = createFakeClock();
  const [one, other] = [start(clock), start(clock)];
  revoke(one.revocations, clock, 'alice', 's1');
  revoke(one.revocations, clock, 'bob');
  assert.deepEqual(one.revocations.list(), one.added);
  assert.equal(one.added.length, 3);
  const told: string[] = [];
  other.revocations.onRevoked((digests) => told.push(...digests));
  const inUse = tokenOf(clock, { sid: 's1' });
  other.revocations.check(inUse);
  assert.equal(other.revocations.restore(one.added), 3);
  assert.deepEqual(told, [inUse.digest]);
  for (const claims of [{ sid: 's1' }, {}, { sub: 'bob', sid: 's9' }, { sid: 's2' }, { sub: 'carol' }]) {
    const token = tokenOf(clock, claims);
    assert.equal(other.revocations.isRevoked(token), one.revocations.isRevoked(token), JSON.stringify(claims));
  }
  assert.equal(other.revocations.restore(one.added), 0);
  assert.deepEqual(other.added, []);
});

test('an entry names no user', () => {
  const clock = createFakeClock();
  const { revocations, added } = start(clock);
  revoke(revocations, clock, 'alice', 'the-session');
  assert.ok(!/alice|session/.test(JSON.stringify(added)));
});

test('an entry whose time has passed changes nothing, and is not listed', () => {
  const clock = createFakeClock();
  const [one, other] = [start(clock), start(clock)];
  revoke(one.revocations, clock, 'alice');
  clock.advance(DAY + 1);
  assert.deepEqual(one.revocations.list(), []);
  assert.equal(other.revocations.restore(one.added), 0);
});

test('an entry without a key revokes all older tokens of its issuer', () => {
  const clock = createFakeClock();
  const [one, other] = [start(clock, { max: 10 }), start(clock)];
  for (let i = 0; i < 11; i += 1) revoke(one.revocations, clock, `user-${i}`);
  const floors = one.added.filter(({ key }) => key === '');
  assert.deepEqual(
    floors.map(({ issuer }) => issuer),
    [ISSUER],
  );
  assert.ok(one.revocations.list().some(({ key }) => key === ''));
  other.revocations.restore(floors);
  assert.ok(other.revocations.isRevoked(tokenOf(clock, { sub: 'anybody' })));
  assert.ok(!other.revocations.isRevoked(tokenOf(clock, { iss: 'https://other.example.com' })));
});

test('a date in the future is bounded in an entry too', () => {
  const clock = createFakeClock();
  const [one, other] = [start(clock), start(clock)];
  revoke(one.revocations, clock, 'alice');
  other.revocations.restore(one.added.map((entry) => ({ ...entry, atMs: Number.MAX_VALUE })));
  const iat = Math.floor(clock.wallMs() / 1000) + 62;
  assert.ok(!other.revocations.isRevoked(tokenOf(clock, { iat })));
});

test('refuses every token until the kept revocations are known', () => {
  const clock = createFakeClock();
  let isComplete = false;
  const { revocations } = start(clock, { isComplete: () => isComplete });
  const token = tokenOf(clock, {});
  assert.throws(() => revocations.check(token), failsWith('ERR_REVOCATIONS_UNKNOWN', /cache\.shared/));
  isComplete = true;
  revocations.check(token);
});
