import assert from 'node:assert/strict';
import { CambistError } from '../../../src/errors.ts';
import { type Breaker, createBreaker } from '../../../src/tokens/breaker.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { failsWith } from './sample.ts';

export function fault(retryAfterSeconds?: number): CambistError {
  return new CambistError('ERR_STS_UNAVAILABLE', 'down', {
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  });
}

/** A breaker that counts its attempts. */
export function setUp() {
  const clock = createFakeClock();
  const said: boolean[] = [];
  const breaker = createBreaker('main', clock, (available) => said.push(available));
  let attempts = 0;
  const attempt = (work: () => Promise<unknown>, caller?: string): Promise<unknown> =>
    breaker.run(caller, () => {
      attempts += 1;
      return work();
    });
  const fail = (error: unknown = fault(), caller?: string): Promise<void> =>
    attempt(() => Promise.reject(error), caller).then(
      () => assert.fail('it did not fail'),
      () => {},
    );
  return { clock, breaker, attempt, fail, said, attempts: () => attempts };
}

export const succeed = (breaker: Breaker, caller?: string): Promise<string> => breaker.run(caller, async () => 'token');
export const refused = failsWith('ERR_STS_UNAVAILABLE', /"main" is considered down/);
