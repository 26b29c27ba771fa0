import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Claims } from '../../../src/tokens/claims.ts';
import { checkNotEnded, hasEnded, type LifeBounds, measureLife, shortenLife } from '../../../src/tokens/issued.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith } from './sample.ts';

/** What is known of a token that is no JWT. */
const OPAQUE: Claims = undefined;

/** All in seconds from now. */
interface Case {
  sent?: number;
  expiresIn?: number;
  exp?: number | string;
  subjectEnd?: number;
  maxAge?: number;
  reusable: number;
}

/** How long a token is reused, by what is known of its life. */
const lives: Record<string, Case> = {
  'expires_in alone': { expiresIn: 100, reusable: 85 },
  'expires_in, counted from when the request was sent': { sent: -2, expiresIn: 102, reusable: 85 },
  'expires_in of five seconds: a fifth is the margin': { expiresIn: 5, reusable: 4 },
  'expires_in of one second': { expiresIn: 1, reusable: 0.8 },
  'expires_in of 75 seconds: both margins are the same': { expiresIn: 75, reusable: 60 },
  'an exp alone': { exp: 100, reusable: 85 },
  'an exp sooner than expires_in': { expiresIn: 200, exp: 100, reusable: 85 },
  'expires_in sooner than the exp': { expiresIn: 100, exp: 200, reusable: 85 },
  'the end of the subject token soonest': { expiresIn: 200, exp: 200, subjectEnd: 100, reusable: 85 },
  'max_age soonest': { expiresIn: 3600, exp: 3600, subjectEnd: 3600, maxAge: 300, reusable: 285 },
  'max_age counts from when the request was sent': { sent: -4, expiresIn: 3600, maxAge: 104, reusable: 85 },
  'no life known: a minute': { reusable: 48 },
  'no life known, from when the request was sent': { sent: -10, reusable: 40 },
  'no life known, and the end of the subject token sooner': { subjectEnd: 10, reusable: 8 },
  'no life known, and max_age sooner': { maxAge: 30, reusable: 24 },
  'an exp that is no number says nothing': { exp: 'soon', reusable: 48 },
  'expires_in 0: not reused': { expiresIn: 0, reusable: 0 },
  'a negative expires_in: not reused': { expiresIn: -10, reusable: -10 },
  'an answer that took longer than the token lives': { sent: -6, expiresIn: 5, reusable: -1 },
  'a subject token within the leeway of its end': { expiresIn: 300, subjectEnd: -3, reusable: -3 },
};
for (const [what, { sent = 0, expiresIn, exp, subjectEnd, maxAge = 100_000, reusable }] of Object.entries(lives)) {
  test(`reuse ends by ${what}`, () => {
    const clock = createFakeClock();
    const wall = clock.wallMs() / 1000;
    const claims = exp === undefined ? OPAQUE : { exp: typeof exp === 'number' ? wall + exp : exp };
    const bounds: LifeBounds = {
      sentAtMs: clock.monotonicMs() + 1000 * sent,
      expiresInSeconds: expiresIn,
      subjectExpiresAtMs: subjectEnd === undefined ? undefined : 1000 * (wall + subjectEnd),
      maxAgeMs: 1000 * maxAge,
    };
    const { reusableUntilMs } = measureLife(claims as Claims, bounds, clock, 0);
    assert.equal(Math.round(reusableUntilMs - clock.monotonicMs()), Math.round(1000 * reusable));
  });
}

function boundsOf(clock: { monotonicMs(): number }, fields: Partial<LifeBounds>): LifeBounds {
  const none = { expiresInSeconds: undefined, subjectExpiresAtMs: undefined };
  return { sentAtMs: clock.monotonicMs(), maxAgeMs: 300_000, ...none, ...fields };
}

test('the next token is worth having in the last tenth to fifth of the reuse, by chance', () => {
  const clock = createFakeClock();
  const bounds = boundsOf(clock, { expiresInSeconds: 115 });
  const fromNow = (random: number) => measureLife(OPAQUE, bounds, clock, random).refreshAtMs - clock.monotonicMs();
  assert.equal(Math.round(fromNow(0)), 90_000);
  assert.equal(Math.round(fromNow(0.5)), 85_000);
  assert.equal(Math.round(fromNow(1)), 80_000);
});

test('there is no next token where the end of the subject token is what ends this one', () => {
  const clock = createFakeClock();
  for (const seconds of [60, 100]) {
    const bounds = boundsOf(clock, { expiresInSeconds: 100, subjectExpiresAtMs: clock.wallMs() + 1000 * seconds });
    assert.equal(measureLife(OPAQUE, bounds, clock, 0).refreshAtMs, Number.POSITIVE_INFINITY);
  }
});

test('the end on the wall clock is the sooner of the two exps, whatever else is known', () => {
  const clock = createFakeClock();
  const wall = clock.wallMs();
  const claims = { exp: wall / 1000 + 100 };
  const end = (subjectExpiresAtMs: number | undefined) =>
    measureLife(claims, boundsOf(clock, { expiresInSeconds: 10, subjectExpiresAtMs }), clock, 0).endsAtMs;
  assert.equal(end(undefined), wall + 100_000);
  assert.equal(end(wall + 50_000), wall + 50_000);
  assert.equal(measureLife(OPAQUE, boundsOf(clock, {}), clock, 0).endsAtMs, Number.POSITIVE_INFINITY);
});

test('no token is reused up to its end, and each is refreshed before its reuse ends', () => {
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
        const clock = createFakeClock();
        const now = clock.monotonicMs();
        const wall = clock.wallMs();
        const atWall = (value: number | undefined) => (value === undefined ? undefined : wall + 1000 * value);
        const claims = exp === undefined ? OPAQUE : { exp: wall / 1000 + exp };
        const sentAtMs = now - tookMs;
        const life = measureLife(
          claims,
          {
            sentAtMs,
            expiresInSeconds: expiresIn,
            subjectExpiresAtMs: atWall(subject),
            maxAgeMs: 1000 * maxAge,
          },
          clock,
          random,
        );
        const ends = [sentAtMs + 1000 * maxAge];
        if (expiresIn !== undefined) ends.push(sentAtMs + 1000 * expiresIn);
        for (const value of [exp, subject]) if (value !== undefined) ends.push(now + 1000 * value);
        const end = Math.min(...ends);
        assert.ok(end > now ? life.reusableUntilMs < end : life.reusableUntilMs <= now);
        assert.ok(life.reusableUntilMs >= end - 15_000.001 || life.reusableUntilMs <= now + 60_000);
        if (life.reusableUntilMs > now) assert.ok(life.refreshAtMs >= now);
        assert.ok(life.refreshAtMs <= Math.max(life.reusableUntilMs, now) || life.refreshAtMs === Infinity);
      },
    ),
  );
});

test('an issued token that was dead when it came is refused, with a leeway for clocks that differ', () => {
  const clock = createFakeClock();
  const endingIn = (seconds: number) => ({ exp: clock.wallMs() / 1000 + seconds });
  checkNotEnded(OPAQUE, clock, 'github');
  checkNotEnded({}, clock, 'github');
  checkNotEnded(endingIn(-4), clock, 'github');
  assert.throws(
    () => checkNotEnded(endingIn(-5), clock, 'github'),
    failsWith('ERR_STS_RESPONSE_INVALID', /route "github".*clocks/),
  );
});

test('a token ends by what it and its answer say, on either clock, and not by how long we like to reuse it', () => {
  const clock = createFakeClock();
  const bounds = boundsOf(clock, { expiresInSeconds: 100, maxAgeMs: 10_000 });
  const byAnswer = { life: measureLife(OPAQUE, bounds, clock, 0) };
  const unknown = { life: measureLife(OPAQUE, boundsOf(clock, { maxAgeMs: 10_000 }), clock, 0) };
  const exp = clock.wallMs() / 1000 + 100;
  const byExp = { life: measureLife({ exp }, boundsOf(clock, {}), clock, 0) };
  const subjectExpiresAtMs = clock.wallMs() + 50_000;
  const bySubject = { life: measureLife(OPAQUE, boundsOf(clock, { subjectExpiresAtMs }), clock, 0) };
  const all = [byAnswer, byExp, bySubject, unknown];
  clock.advance(49_999);
  assert.deepEqual(
    all.map((token) => hasEnded(token, clock)),
    [false, false, false, false],
  );
  clock.advance(1);
  assert.equal(hasEnded(bySubject, clock), true);
  clock.jumpWall(50_000);
  assert.deepEqual([hasEnded(byAnswer, clock), hasEnded(byExp, clock)], [false, true]);
  clock.advance(50_000);
  assert.deepEqual([hasEnded(byAnswer, clock), hasEnded(unknown, clock)], [true, false]);
});

test('a token that was at its end when it came does not end after that', () => {
  const clock = createFakeClock();
  const token = { life: measureLife(OPAQUE, boundsOf(clock, { expiresInSeconds: 0 }), clock, 0) };
  clock.advance(60_000);
  assert.equal(hasEnded(token, clock), false);
});

test('a life under a lower max_age is what it would have been from the beginning, and under a higher one stays', () => {
  const clock = createFakeClock();
  const bounds = boundsOf(clock, { expiresInSeconds: 3600, subjectExpiresAtMs: clock.wallMs() + 3_600_000 });
  const before = measureLife(OPAQUE, { ...bounds, maxAgeMs: 600_000 }, clock, 0.5);
  const lower = { ...bounds, maxAgeMs: 40_000 };
  assert.deepEqual(shortenLife(before, lower.maxAgeMs, clock, 0.5), measureLife(OPAQUE, lower, clock, 0.5));
  assert.equal(shortenLife(before, 600_000, clock, 0), before);
  assert.equal(shortenLife(before, 700_000, clock, 0), before);
});
