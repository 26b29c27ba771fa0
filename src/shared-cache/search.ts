import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { SharedToken } from '../tokens/shared-token.ts';
import { bareToken, textOf } from '../tokens/token-text.ts';
import { type Place, tagOf, type UsableRules, usableToken } from './results.ts';
import { ACQUIRE } from './scripts.ts';
import { MAX_SEALED_LENGTH } from './seal.ts';
import type { Store } from './store.ts';
import type { Operation, StoreCounts } from './store-counts.ts';

/** A replica waits this long for the exchange of another one, and a lock lasts no longer. */
const LOCK_MS = 3000;
const HOLDER_LENGTH = 22;

/** A new value for a lock. It cannot be written without the key, and no two locks have the same. */
export function newLock(place: Place): string {
  return lockOf(randomBytes(16).toString('base64url'), place);
}

/** The name of the lock is a part, so that the value means nothing elsewhere. */
function lockOf(holder: string, { key, lock }: Place): string {
  const mac = createHmac('sha256', key.locks).update(JSON.stringify([holder, lock]));
  return `${holder}.${mac.digest('base64url')}`;
}

/** Did a replica write this value? */
function isLock(value: string, place: Place): boolean {
  const expected = Buffer.from(lockOf(value.slice(0, HOLDER_LENGTH), place));
  const actual = Buffer.from(value);
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}

interface SearcherOptions extends UsableRules {
  readonly store: Pick<Store, 'use'>;
  readonly counts: Pick<StoreCounts, 'operation'>;
}

const FIRST_POLL_MS = 10;
const MAX_POLL_MS = 100;
/** Values that cannot be used, and that are skipped one after the other, before the replica exchanges for itself. */
const MAX_USELESS = 2;
/** An unusable value is recognized by its beginning. */
const UNWANTED_LENGTH = 64;

interface Search {
  readonly place: Place;
  readonly lock: string;
  readonly replaced: IssuedToken | undefined;
  unwanted: string;
}

/** Looks for the token of a request at the server, and waits for the exchange of another replica. */
export function createSearcher(options: SearcherOptions) {
  const { store, counts, clock } = options;

  /** @returns a token, or the lock of another replica. Undefined where this replica exchanges for itself */
  async function lookUp(wanted: Search, operation: Operation): Promise<SharedToken | string | undefined> {
    const { place, lock, replaced } = wanted;
    for (let useless = 0; useless <= MAX_USELESS; useless += 1) {
      const args = [lock, String(LOCK_MS), String(MAX_SEALED_LENGTH), wanted.unwanted];
      const reply = await store.use(operation, (server) => server.run(ACQUIRE, [place.token, place.lock], args));
      if (reply === undefined) return undefined;
      const [token, held] = textsOf(reply.value);
      if (token === '') {
        const isOther = held !== lock && isLock(held, place);
        counts.operation(operation, isOther ? 'locked' : held === lock ? 'miss' : 'invalid');
        return isOther ? held : undefined;
      }
      const usable = usableToken(token, place, replaced, options);
      counts.operation(operation, usable === undefined ? 'invalid' : 'hit');
      if (usable !== undefined) return usable;
      wanted.unwanted = token.slice(0, UNWANTED_LENGTH);
    }
    return undefined;
  }

  /**
   * @param lock the value that this replica's lock would have
   * @param replaced the token that is to be replaced. It is not found
   * @returns undefined where this replica exchanges for itself
   */
  return async (place: Place, lock: string, replaced: IssuedToken | undefined): Promise<SharedToken | undefined> => {
    const unwanted = replaced === undefined ? '' : tagOf(bareToken(replaced.authorization.reveal()), place);
    const wanted: Search = { place, lock, replaced, unwanted };
    const untilMs = clock.monotonicMs() + LOCK_MS;
    const first = await lookUp(wanted, 'lookup');
    let found = first;
    // After a failure of the first holder, every replica that waited for it exchanges for itself, at the same time.
    for (let pollMs = FIRST_POLL_MS; typeof found === 'string' && found === first; pollMs *= 1.5) {
      if (clock.monotonicMs() >= untilMs) return undefined;
      await sleep(Math.min(MAX_POLL_MS, pollMs) * (0.5 + options.random() / 2));
      found = await lookUp(wanted, 'wait');
    }
    return typeof found === 'string' ? undefined : found;
  };
}

/** Reads the two texts of a reply. A malformed reply has none. */
function textsOf(reply: unknown): readonly [token: string, lock: string] {
  const [token, lock] = Array.isArray(reply) ? (reply as unknown[]) : [];
  return [textOf(token), textOf(lock)];
}
