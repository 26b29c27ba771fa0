import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';

const UNUSABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['ERR_ISSUED_TOKEN_AUDIENCE', 'ERR_STS_RESPONSE_INVALID']);

/** Errors that concern the caller alone and last for seconds. Faults, and refusals of cambist's own client, may pass at any time. */
const CACHED_ERRORS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_INTERACTION_REQUIRED',
  'ERR_CONSENT_REQUIRED',
  'ERR_EXCHANGE_REFUSED',
]);

/** The cache returns a refusal of the caller's token, or of the target, for this time. */
const REFUSAL_LIFETIME_MS = 10_000;
/** A user who has just consented must not be held off, and cannot consent faster. */
const CONSENT_REFUSAL_LIFETIME_MS = 1000;

function refusalLifetimeMs({ code }: CambistError): number {
  return code === 'ERR_CONSENT_REQUIRED' ? CONSENT_REFUSAL_LIFETIME_MS : REFUSAL_LIFETIME_MS;
}

/**
 * Did the authorization server issue a token that must not be sent? A step-up without a wider token leaves the caller with the
 * backend's 403, so it need not be repeated at once. Other requests ask again, because they would only get an error.
 */
export function isUnusable(error: unknown): error is CambistError {
  return error instanceof CambistError && UNUSABLE.has(error.code);
}

export function isCachedError(error: unknown): error is CambistError {
  return error instanceof CambistError && CACHED_ERRORS.has(error.code);
}

/** Refusals by `subjectKey`. They are bounded, and the least recently used one gives way. */
export function createRefusals(maxEntries: number, clock: Clock) {
  const create = (max: number) =>
    new LRUCache<string, CambistError>({
      // With `max`, the library reserves room for all entries at once.
      maxSize: max,
      sizeCalculation: () => 1,
      // Each refusal has its own.
      ttl: 1,
      ttlResolution: 0,
      perf: { now: () => clock.monotonicMs() },
    });
  let refusals = create(maxEntries);

  return {
    find: (key: string): CambistError | undefined => refusals.get(key),
    keep: (key: string, error: CambistError): void => void refusals.set(key, error, { ttl: refusalLifetimeMs(error) }),
    drop: (key: string): void => void refusals.delete(key),
    dropAll(isDropped: (key: string) => boolean): void {
      for (const key of [...refusals.keys()]) if (isDropped(key)) refusals.delete(key);
    },
    sweep: (): void => void refusals.purgeStale(),
    /** Changes the bound, and forgets all refusals, which last for seconds. */
    resize(max: number): void {
      refusals = create(max);
    },
  };
}
