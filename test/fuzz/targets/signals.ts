import assert from 'node:assert/strict';
import type { JWTPayload } from 'jose';
import { InvalidSignal, readEvents, readLogout } from '../../../src/signals/events.ts';
import { readPollResponse, TransmitterError } from '../../../src/signals/transmitter-client.ts';
import { createRevocations } from '../../../src/tokens/revocations.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

const ISSUER = 'https://idp.example.com';

/** A response to a poll. It is read or refused. */
function readPolled(text: string): void {
  try {
    readPollResponse({ status: 200, retryAfter: undefined, text }, 'idp', 2, 0);
  } catch (error) {
    if (!(error instanceof TransmitterError)) throw error;
  }
}

/** Claims of a security event token or a logout token, as JSON. They are read or refused, and revoke only what they may. */
export function fuzz(data: Buffer): void {
  readPolled(data.toString('utf8'));
  let claims: unknown;
  try {
    claims = JSON.parse(data.toString('utf8'));
  } catch {
    return;
  }
  if (typeof claims !== 'object' || claims === null || Array.isArray(claims)) return;
  const clock = createFakeClock();
  const revocations = createRevocations({ clock, rememberMs: 60_000, max: 4, soon: () => {} });
  for (const read of [readEvents, readLogout]) {
    try {
      for (const revocation of read(claims as JWTPayload, ISSUER).revocations) {
        assert.equal(revocation.issuer, ISSUER);
        assert.ok(Number.isFinite(revocation.atMs));
        revocations.revoke(revocation);
        assert.equal(revocations.revoke(revocation), false, 'a replay changed something');
        assert.ok(revocations.size <= 4);
      }
    } catch (error) {
      if (!(error instanceof InvalidSignal)) throw error;
    }
  }
}
