import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CambistError } from '../errors.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { SharedToken } from '../tokens/shared-token.ts';
import { bareToken } from '../tokens/token-text.ts';
import { type Place, type Places, tagOf, type UsableRules, usableRefusal, usableToken } from './results.ts';
import { ACQUIRE } from './scripts.ts';
import { MAX_SEALED_LENGTH, type StoreKey } from './seal.ts';
import type { Store } from './store.ts';
import type { Operation, StoreCounts } from './store-counts.ts';

/** The value of a lock: its holder, and how often the holder has renewed it. It cannot be written without the key. */
export interface LockValue {
  readonly holder: string;
  readonly renewals: number;
}

/** A lock lives this long after its last renewal. The replicas that wait for a replica that died go on after it. */
export const LOCK_MS = 800;
/** Interval at which its holder renews a lock. */
export const RENEW_MS = 250;

const LOCK = /^([\w-]{22})\.(\d{1,9})\.([\w-]{43})$/;

/** The first value of a new lock. No two locks have the same. */
export function newLock(): LockValue {
  return { holder: randomBytes(16).toString('base64url'), renewals: 0 };
}

/** @param name of the lock, so that its value means nothing elsewhere */
export function writeLock({ holder, renewals }: LockValue, name: string, key: StoreKey): string {
  return `${holder}.${renewals}.${macOf(holder, String(renewals), name, key).toString('base64url')}`;
}

/** Reads the value of a lock, if a replica wrote it. */
export function readLock(text: unknown, name: string, key: StoreKey): LockValue | undefined {
  const [, holder, renewals, mac] = typeof text === 'string' ? (LOCK.exec(text) ?? []) : [];
  if (holder === undefined || renewals === undefined || mac === undefined) return undefined;
  const expected = macOf(holder, renewals, name, key);
  const actual = Buffer.from(mac, 'base64url');
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected)) return undefined;
  return { holder, renewals: Number(renewals) };
}

function macOf(holder: string, renewals: string, name: string, key: StoreKey): Buffer {
  return createHmac('sha256', key.locks)
    .update(JSON.stringify([holder, renewals, name]))
    .digest();
}

/** The content of the store for an entry. `ours`: nothing, and this replica holds the lock. */
export type Found =
  | {
      readonly kind: 'token';
      readonly token: SharedToken;
      /** This replica also took the lock. */
      readonly isLocked: boolean;
    }
  | { readonly kind: 'refusal'; readonly error: CambistError }
  | { readonly kind: 'ours' };

interface SearcherOptions extends UsableRules {
  readonly store: Pick<Store, 'use'>;
  readonly counts: Pick<StoreCounts, 'operation'>;
}

/** Without a renewal for this long, the holder of a lock has died, and did not just fail. It renews three times as often. */
const SILENT_MS = 500;
/** A lock that is not renewed for this long has no holder, whatever its lifetime. */
const DEAD_MS = 1000;
/** Longest wait for the exchange of another replica. */
const MAX_WAIT_MS = 3000;
const FIRST_POLL_MS = 10;
const MAX_POLL_MS = 100;
/** Values that cannot be used, and that are skipped one after the other, before the replica exchanges for itself. */
const MAX_USELESS = 2;
/** An unusable value is recognized by its beginning. */
const UNWANTED_LENGTH = 64;

interface Search {
  readonly places: Places;
  readonly lock: LockValue;
  readonly replaced: IssuedToken | undefined;
  unwantedToken: string;
  unwantedRefusal: string;
}

type Seen = Found | { readonly kind: 'locked'; readonly lock: LockValue };

/** Looks for the token of an entry at the server, and waits for the exchange of another replica. */
export function createSearcher(options: SearcherOptions) {
  const { store, counts, clock } = options;
  const shared = new WeakSet<IssuedToken | CambistError>();

  async function search(wanted: Search): Promise<Found | undefined> {
    const [now, ...older] = await Promise.all([
      lookUp(wanted, 'lookup'),
      ...wanted.places.others.map((place) => peek(wanted, place)),
    ]);
    const known = older.find((token) => token !== undefined);
    if (known !== undefined && now?.kind !== 'token') {
      return { kind: 'token', token: known, isLocked: now?.kind === 'ours' };
    }
    return now?.kind === 'locked' ? waitFor(wanted, now.lock) : now;
  }

  /** Looks up once, and again where a value is useless. */
  async function lookUp(wanted: Search, operation: Operation): Promise<Seen | undefined> {
    const { places, lock } = wanted;
    const { token, refusal, lock: lockName, key } = places.first;
    const value = writeLock(lock, lockName, key);
    for (let useless = 0; useless <= MAX_USELESS; useless += 1) {
      const { unwantedToken, unwantedRefusal } = wanted;
      const args = [value, String(LOCK_MS), String(MAX_SEALED_LENGTH), unwantedToken, unwantedRefusal];
      const reply = await store.use(operation, (server) => server.run(ACQUIRE, [token, refusal, lockName], args));
      if (reply === undefined) return undefined;
      const [foundToken, foundRefusal, foundLock] = textsOf(reply.value);
      if (foundToken !== '') {
        const usable = usableToken(foundToken, places.first, places, wanted.replaced, options);
        counts.operation(operation, usable === undefined ? 'invalid' : 'hit');
        if (usable !== undefined) return { kind: 'token', token: usable, isLocked: false };
        wanted.unwantedToken = foundToken.slice(0, UNWANTED_LENGTH);
      } else if (foundRefusal !== '') {
        const error = usableRefusal(foundRefusal, places, clock);
        counts.operation(operation, error === undefined ? 'invalid' : 'hit');
        if (error !== undefined) return { kind: 'refusal', error };
        wanted.unwantedRefusal = foundRefusal.slice(0, UNWANTED_LENGTH);
      } else if (foundLock === value) {
        counts.operation(operation, 'miss');
        return { kind: 'ours' };
      } else {
        const other = readLock(foundLock, lockName, key);
        counts.operation(operation, other === undefined ? 'invalid' : 'locked');
        return other && { kind: 'locked', lock: other };
      }
    }
    return undefined;
  }

  /** Looks for a token under an older key. */
  async function peek(wanted: Search, place: Place): Promise<SharedToken | undefined> {
    const args = ['', '0', String(MAX_SEALED_LENGTH), unwantedAt(place, wanted.replaced), ''];
    const names = [place.token, place.refusal, place.lock];
    const reply = await store.use('lookup', (server) => server.run(ACQUIRE, names, args));
    const [token] = textsOf(reply?.value);
    return token === '' ? undefined : usableToken(token, place, wanted.places, wanted.replaced, options);
  }

  /** Waits while a holder of the lock shows that it lives. */
  async function waitFor(wanted: Search, first: LockValue): Promise<Found | undefined> {
    const startedMs = clock.monotonicMs();
    let seen = first;
    let aliveMs = startedMs;
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(MAX_POLL_MS, pollMs * 1.5)) {
      await sleep(pollMs * (0.5 + options.random() / 2));
      const found = await lookUp(wanted, 'wait');
      if (found?.kind !== 'locked') return found;
      const nowMs = clock.monotonicMs();
      const isOther = found.lock.holder !== seen.holder;
      // The exchange of the holder failed. Every replica that waited for it now exchanges for itself, at the same time.
      if (isOther && nowMs - aliveMs < SILENT_MS) return undefined;
      // Else the holder died, and one replica that waited has taken its place.
      if (isOther || found.lock.renewals > seen.renewals) {
        seen = found.lock;
        aliveMs = nowMs;
      }
      if (nowMs - aliveMs > DEAD_MS || nowMs - startedMs > MAX_WAIT_MS) return undefined;
    }
  }

  return {
    /**
     * @param lock the value that this replica's lock would have
     * @param replaced the token that is to be replaced. It is not found
     * @returns undefined where this replica exchanges for itself
     */
    async search(places: Places, lock: LockValue, replaced: IssuedToken | undefined): Promise<Found | undefined> {
      const unwantedToken = unwantedAt(places.first, replaced);
      const found = await search({ places, lock, replaced, unwantedToken, unwantedRefusal: '' });
      if (found?.kind === 'token') shared.add(found.token.token);
      if (found?.kind === 'refusal') shared.add(found.error);
      return found;
    },
    /** Tells whether a result is from the store. */
    isShared: (result: IssuedToken | CambistError): boolean => shared.has(result),
  };
}

/** Three texts of a reply. A malformed reply has none. */
function textsOf(reply: unknown): readonly [token: string, refusal: string, lock: string] {
  const [token, refusal, lock] = Array.isArray(reply) ? (reply as unknown[]) : [];
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  return [text(token), text(refusal), text(lock)];
}

function unwantedAt(place: Place, replaced: IssuedToken | undefined): string {
  return replaced === undefined ? '' : tagOf(bareToken(replaced.authorization.reveal()), place);
}
