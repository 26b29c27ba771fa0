import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { FakeAuthorizationServer, Mood } from './fake-authorization-server.ts';

/** How long an issued token lives here: long enough for a machine that is busy, and short enough to wait for its end. */
const LIFE_SECONDS = 1.5;

/** The next tokens live a second and a half, by `expires_in`. */
export const SHORT: Mood = { kind: 'issue', fields: { expires_in: LIFE_SECONDS } };
/** The next tokens are at their end when they come: each is for one use. */
export const FOR_ONE_USE: Mood = { kind: 'issue', fields: { expires_in: 0 } };

/** Longer than any of them lives. */
export const LONGER_MS = 2000;

export function outlive(): Promise<void> {
  return delay(LONGER_MS);
}

/** Holds what an upstream got to the tokens that were issued: each was alive when it came. */
export function assertAlive(
  { requests }: FakeAuthorizationServer,
  arrivals: readonly { bearer: string | undefined; atMs: number }[],
): void {
  for (const { bearer, atMs } of arrivals) {
    const request = requests.find(({ issued }) => bearer === `Bearer ${issued}`);
    assert.ok(request !== undefined, 'nobody issued this token');
    const ageMs = atMs - request.receivedAtMs;
    assert.ok(ageMs < 1000 * LIFE_SECONDS, `a token of ${ageMs} ms was sent`);
  }
}
