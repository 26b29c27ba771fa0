import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { computeLifetime, isExpired, type LifetimeBounds } from '../../../src/tokens/lifetime.ts';
import type { Claims } from '../../../src/tokens/token-text.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

/** Claims of a token that is not a JWT. */
const OPAQUE: Claims = undefined;

function setUp() {
  const clock = createFakeClock();
  const lifetimeOf = (fields: Partial<LifetimeBounds>, claims: Claims = OPAQUE, random = 0) => {
    const bounds = { sentAtMs: clock.monotonicMs(), expiresInSeconds: undefined, subjectExpiresAtMs: undefined };
    return computeLifetime(claims, { ...bounds, maxAgeMs: 300_000, ...fields }, clock, random);
  };
  /** Epoch milliseconds in so many seconds. */
  const wallIn = (seconds: number | undefined) => (seconds === undefined ? undefined : clock.wallMs() + 1000 * seconds);
  return { clock, lifetimeOf, wallIn };
}

/** All values are in seconds from now. */
interface Case {
  sent?: number;
  expiresIn?: number;
  exp?: number | string;
  subjectExpiry?: number;
  maxAge?: number;
  reusable: number;
}

const CASES: Record<string, Case> = {
  expires_in: { expiresIn: 100, reusable: 85 },
  'expires_in, counted from when the request was sent': { sent: -2, expiresIn: 102, reusable: 85 },
  'expires_in of five seconds, with a margin of a fifth': { expiresIn: 5, reusable: 4 },
  'expires_in of one second': { expiresIn: 1, reusable: 0.8 },
  exp: { exp: 100, reusable: 85 },
  'exp before expires_in': { expiresIn: 200, exp: 100, reusable: 85 },
  'expires_in before exp': { expiresIn: 100, exp: 200, reusable: 85 },
  "the subject token's expiry, when it is first": { expiresIn: 200, exp: 200, subjectExpiry: 100, reusable: 85 },
  'max_age, when it is first': { expiresIn: 3600, exp: 3600, subjectExpiry: 3600, maxAge: 300, reusable: 285 },
  'max_age, counted from when the request was sent': { sent: -4, expiresIn: 3600, maxAge: 104, reusable: 85 },
  'one minute, when no lifetime is known': { reusable: 48 },
  'one minute from when the request was sent, when no lifetime is known': { sent: -10, reusable: 40 },
  "the subject token's expiry, when no lifetime is known": { subjectExpiry: 10, reusable: 8 },
  'max_age, when no lifetime is known': { maxAge: 30, reusable: 24 },
  'one minute, when exp is not a number': { exp: 'soon', reusable: 48 },
  'expires_in 0, which allows no reuse': { expiresIn: 0, reusable: 0 },
  'expires_in that passed before the response came': { sent: -6, expiresIn: 5, reusable: -1 },
  'a subject token that expired within the leeway': { expiresIn: 300, subjectExpiry: -3, reusable: -3 },
};
for (const [what, { sent = 0, expiresIn, exp, subjectExpiry, maxAge = 100_000, reusable }] of Object.entries(CASES)) {
  test(`limits reuse by ${what}`, () => {
    const { clock, lifetimeOf, wallIn } = setUp();
    const now = clock.monotonicMs();
    const claims = { exp: typeof exp === 'number' ? clock.wallMs() / 1000 + exp : exp } as Claims;
    const { reusableUntilMs } = lifetimeOf(
      {
        sentAtMs: now + 1000 * sent,
        expiresInSeconds: expiresIn,
        subjectExpiresAtMs: wallIn(subjectExpiry),
        maxAgeMs: 1000 * maxAge,
      },
      exp === undefined ? OPAQUE : claims,
    );
    assert.equal(Math.round(reusableUntilMs - now), Math.round(1000 * reusable));
  });
}

test('refreshes at a random time in the last tenth to fifth of the reuse', () => {
  const { clock, lifetimeOf } = setUp();
  const fromNow = [0, 0.5, 1].map(
    (random) => lifetimeOf({ expiresInSeconds: 115 }, OPAQUE, random).refreshAtMs - clock.monotonicMs(),
  );
  assert.deepEqual(fromNow.map(Math.round), [90_000, 85_000, 80_000]);
});

test('never refreshes when the subject token expires first', () => {
  const { lifetimeOf, wallIn } = setUp();
  for (const seconds of [60, 100]) {
    const bounds = { expiresInSeconds: 100, subjectExpiresAtMs: wallIn(seconds) };
    assert.equal(lifetimeOf(bounds).refreshAtMs, Number.POSITIVE_INFINITY);
  }
});

test('expires by the wall clock at the earlier of both exp claims, whatever expires_in is', () => {
  const { clock, lifetimeOf, wallIn } = setUp();
  const claims = { exp: clock.wallMs() / 1000 + 100 };
  const expiry = (seconds?: number) =>
    lifetimeOf({ expiresInSeconds: 10, subjectExpiresAtMs: wallIn(seconds) }, claims).expiresAtMs;
  assert.deepEqual([expiry(), expiry(50)], [wallIn(100), wallIn(50)]);
  assert.equal(lifetimeOf({}).expiresAtMs, Number.POSITIVE_INFINITY);
});

test('stops reuse before expiry, and refreshes before that', () => {
  const seconds = fc.option(fc.integer({ min: -10, max: 100_000 }), { nil: undefined });
  fc.assert(
    fc.property(
      fc.record({
        expiresIn: seconds,
        exp: seconds,
        subject: seconds,
        maxAge: fc.integer({ min: 1, max: 100_000 }),
        tookMs: fc.integer({ min: 0, max: 5000 }),
        random: fc.double({ min: 0, max: 1, noNaN: true }),
      }),
      ({ expiresIn, exp, subject, maxAge, tookMs, random }) => {
        const { clock, lifetimeOf, wallIn } = setUp();
        const now = clock.monotonicMs();
        const claims = exp === undefined ? OPAQUE : { exp: clock.wallMs() / 1000 + exp };
        const sentAtMs = now - tookMs;
        const subjectExpiresAtMs = wallIn(subject);
        const bounds = { sentAtMs, expiresInSeconds: expiresIn, subjectExpiresAtMs, maxAgeMs: 1000 * maxAge };
        const { reusableUntilMs, refreshAtMs } = lifetimeOf(bounds, claims, random);
        const limits = [sentAtMs + 1000 * maxAge];
        if (expiresIn !== undefined) limits.push(sentAtMs + 1000 * expiresIn);
        for (const value of [exp, subject]) if (value !== undefined) limits.push(now + 1000 * value);
        const limit = Math.min(...limits);
        assert.ok(limit > now ? reusableUntilMs < limit : reusableUntilMs <= now);
        assert.ok(reusableUntilMs >= limit - 15_000.001 || reusableUntilMs <= now + 60_000);
        if (reusableUntilMs > now) assert.ok(refreshAtMs >= now);
        assert.ok(refreshAtMs <= Math.max(reusableUntilMs, now) || refreshAtMs === Infinity);
      },
    ),
  );
});

test('expires by its own and the subject token’s expiry on either clock, and not by max_age', () => {
  const { clock, lifetimeOf, wallIn } = setUp();
  const byResponse = { lifetime: lifetimeOf({ expiresInSeconds: 100, maxAgeMs: 10_000 }) };
  const unknown = { lifetime: lifetimeOf({ maxAgeMs: 10_000 }) };
  const byExp = { lifetime: lifetimeOf({}, { exp: clock.wallMs() / 1000 + 100 }) };
  const bySubject = { lifetime: lifetimeOf({ subjectExpiresAtMs: wallIn(50) }) };
  const expired = () => [byResponse, byExp, bySubject, unknown].map((token) => isExpired(token, clock));
  clock.advance(49_999);
  assert.deepEqual(expired(), [false, false, false, false]);
  clock.advance(1);
  assert.deepEqual(expired(), [false, false, true, false]);
  clock.jumpWall(50_000);
  assert.deepEqual(expired(), [false, true, true, false]);
  clock.advance(50_000);
  assert.deepEqual(expired(), [true, true, true, false]);
});

test('expires with the subject token, also when the wall clock was set back', () => {
  const { clock, lifetimeOf, wallIn } = setUp();
  const token = { lifetime: lifetimeOf({ expiresInSeconds: 100, subjectExpiresAtMs: wallIn(50) }) };
  clock.jumpWall(-50_000);
  clock.advance(49_999);
  assert.equal(isExpired(token, clock), false);
  clock.advance(1);
  assert.equal(isExpired(token, clock), true);
});

test('a token that was expired on arrival does not expire later', () => {
  const { clock, lifetimeOf } = setUp();
  const token = { lifetime: lifetimeOf({ expiresInSeconds: 0 }) };
  clock.advance(60_000);
  assert.equal(isExpired(token, clock), false);
});
