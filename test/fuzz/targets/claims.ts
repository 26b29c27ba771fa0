import assert from 'node:assert/strict';
import { CambistError } from '../../../src/errors.ts';
import { acceptToken } from '../../../src/tokens/accept-token.ts';
import { isExpired } from '../../../src/tokens/lifetime.ts';
import { readClaims } from '../../../src/tokens/token-text.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { targetOf, tokenRequestOf } from '../../unit/tokens/sample.ts';

const BACKEND = 'https://backend.example.com/mcp';
const MAX_AGE_MS = 300_000;

/** A JWT is accepted only for its backend, and never longer than all limits allow. Input: header and payload, a line each. */
export function fuzz(data: Buffer): void {
  const text = data.toString('utf8');
  const [header = '', ...rest] = text.split('\n');
  readClaims(text);
  const token = [header, rest.join('\n'), 'signature'].map((part) => Buffer.from(part).toString('base64url')).join('.');
  const clock = createFakeClock();
  for (const expectAudience of [[BACKEND], { only: [BACKEND] }, 'any'] as const) {
    const request = tokenRequestOf({
      target: targetOf({ expectAudience }),
      subjectExpiresAtMs: clock.wallMs() + 60_000,
    });
    const settings = { clock, maxAgeMs: () => MAX_AGE_MS, random: () => 0.5 };
    try {
      const accepted = acceptToken(
        { accessToken: token, tokenType: 'Bearer', expiresInSeconds: 120 },
        clock.monotonicMs(),
        request,
        settings,
      );
      const claims = readClaims(token);
      const audiences: unknown[] = [claims?.aud].flat();
      if (claims !== undefined && expectAudience !== 'any')
        assert.ok(audiences.includes(BACKEND), 'the audience is wrong');
      if (claims !== undefined && typeof expectAudience === 'object' && 'only' in expectAudience)
        assert.ok(audiences.every((name) => name === BACKEND));
      const { lifetime } = accepted;
      assert.ok(
        lifetime.reusableUntilMs <= clock.monotonicMs() + 60_000,
        'it is reused for longer than the caller has',
      );
      assert.ok(!Number.isNaN(lifetime.refreshAtMs) && !Number.isNaN(lifetime.expiresAtMonotonicMs));
      if (typeof claims?.exp === 'number') assert.ok(lifetime.expiresAtMs <= claims.exp * 1000);
      assert.equal(typeof isExpired(accepted, clock), 'boolean');
    } catch (error) {
      if (!(error instanceof CambistError)) throw error;
      assert.ok(!error.message.includes(token));
    }
  }
}
