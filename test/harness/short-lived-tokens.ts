import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import type { Behaviour, FakeAuthorizationServer } from './fake-authorization-server.ts';

/** Lifetime of issued tokens: long enough for a busy machine, and short enough to wait for the expiry. */
const LIFE_SECONDS = 1.5;

/** Issues tokens with `expires_in` of 1.5 seconds. */
export const SHORT_LIVED: Behaviour = { kind: 'issue', fields: { expires_in: LIFE_SECONDS } };
/** Issues tokens with `expires_in` of 0, so each token is used once. */
export const SINGLE_USE: Behaviour = { kind: 'issue', fields: { expires_in: 0 } };

/** Longer than the lifetime of these tokens. */
export const EXPIRY_WAIT_MS = 2000;

export function waitForExpiry(): Promise<void> {
  return delay(EXPIRY_WAIT_MS);
}

/** Checks that every token was issued and unexpired when the upstream received it. */
export function assertUnexpired(
  { requests }: FakeAuthorizationServer,
  arrivals: readonly { bearer: string | undefined; atMs: number }[],
): void {
  for (const { bearer, atMs } of arrivals) {
    const request = requests.find(({ issued }) => bearer === `Bearer ${issued}`);
    assert.ok(request !== undefined, 'the token was never issued');
    const ageMs = atMs - request.receivedAtMs;
    assert.ok(ageMs < 1000 * LIFE_SECONDS, `the token was ${ageMs} ms old`);
  }
}
