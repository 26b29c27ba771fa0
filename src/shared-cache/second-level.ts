import { hash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { CambistError } from '../errors.ts';
import type { LifetimeSettings } from '../tokens/accept-token.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { restoreToken, toPortable } from '../tokens/restored-token.ts';
import {
  CACHED_ERRORS,
  refusalLifetimeMs,
  type SecondLevel,
  type SharedEntry,
  type SharedToken,
} from '../tokens/second-level.ts';
import type { Operation, StoreCounts } from './counts.ts';
import type { StoreKeys } from './keys.ts';
import { type LockValue, newLock, readLock, writeLock } from './locks.ts';
import type { SharedMessages } from './messages.ts';
import { openRefusal, openToken, type Place, type Places, placesOf, sealRefusal, sealToken, tagOf } from './places.ts';
import { ACQUIRE, FINISH, FORGET, RENEW } from './scripts.ts';
import { MAX_SEALED_LENGTH } from './seal.ts';
import { sealingSecret } from './sealing-secret.ts';
import type { Store } from './store.ts';
import { readRefusal, readToken, writeRefusal, writeToken } from './stored.ts';

export interface SecondLevelOptions extends LifetimeSettings {
  readonly store: Store;
  readonly keys: StoreKeys;
  readonly counts: StoreCounts;
  readonly messages: SharedMessages;
  readonly prefix: string;
}

/** A lock lives this long after its last renewal. The replicas that wait for a replica that died go on after it. */
const LOCK_MS = 800;
const RENEW_MS = 250;
/** Longest exchange that other replicas wait for. */
const MAX_HOLD_MS = 10_000;
/** A lock that is not renewed for this long has no holder, whatever its lifetime. */
const DEAD_MS = 1000;
/** Longest wait for the exchange of another replica. */
const MAX_WAIT_MS = 3000;
const FIRST_POLL_MS = 10;
const MAX_POLL_MS = 100;
/** Values that cannot be used, and that are skipped one after the other, before the replica exchanges for itself. */
const MAX_USELESS = 2;
/** Refused tokens and ended sessions that are remembered, so that the store cannot bring them back. */
const MAX_REMEMBERED = 10_000;
/** An unusable value is recognized by its beginning. */
const UNWANTED_LENGTH = 64;

/** The content of the store for an entry. `ours`: nothing, and this replica holds the lock. */
type Found =
  | { readonly kind: 'token'; readonly token: SharedToken }
  | { readonly kind: 'refusal'; readonly error: CambistError }
  | { readonly kind: 'ours' }
  | { readonly kind: 'locked'; readonly lock: LockValue };

/** One search. */
interface Search {
  readonly places: Places;
  readonly lock: LockValue;
  readonly replaced: IssuedToken | undefined;
  unwantedToken: string;
  unwantedRefusal: string;
}

/** Tokens, refusals and the ends of sessions, shared by replicas. */
export function createSecondLevel(options: SecondLevelOptions): SecondLevel {
  const { store, keys, counts, messages, prefix, clock } = options;
  const refused = new LRUCache<string, true>({ max: MAX_REMEMBERED });
  /** Monotonic milliseconds of the end, by key. */
  const ended = new LRUCache<string, number>({ max: MAX_REMEMBERED });
  const shared = new WeakSet<CambistError>();

  /** Undefined where the store is down, or the token is not to be shared. */
  async function find(entry: SharedEntry, operation: Operation): Promise<Places | undefined> {
    if (!store.state.isAvailable) {
      counts.operation(operation, 'skipped');
      return undefined;
    }
    try {
      const [secret, list] = await Promise.all([sealingSecret(entry), keys.read()]);
      return secret && placesOf(entry, secret, list, prefix);
    } catch {
      // The exchange needs the same credential and reports it. The store reads the keys again before its next connection.
      counts.operation(operation, 'error');
      return undefined;
    }
  }

  /** Undefined: this replica exchanges for itself. */
  async function search(asked: Search): Promise<Found | undefined> {
    const first = await Promise.all([ask(asked, 'lookup'), ...asked.places.others.map((place) => peek(asked, place))]);
    const [now, ...older] = first;
    const known = older.find((token) => token !== undefined);
    if (known !== undefined && now?.kind !== 'token') {
      const { places, lock } = asked;
      // Moves it to the first key, and frees the lock.
      if (now?.kind === 'ours') finish(places, lock, sealedToken(known.token, known.added, places));
      return { kind: 'token', token: known };
    }
    return now?.kind === 'locked' ? waitFor(asked, now.lock) : now;
  }

  /** Asks once, and again where a value is useless. */
  async function ask(asked: Search, operation: Operation): Promise<Found | undefined> {
    const { places, lock } = asked;
    const { token, refusal, lock: lockName, key } = places.first;
    const value = writeLock(lock, lockName, key);
    for (let useless = 0; useless <= MAX_USELESS; useless += 1) {
      const { unwantedToken, unwantedRefusal } = asked;
      const args = [value, String(LOCK_MS), String(MAX_SEALED_LENGTH), unwantedToken, unwantedRefusal];
      const reply = await store.use(operation, (server) => server.run(ACQUIRE, [token, refusal, lockName], args));
      if (reply === undefined) return undefined;
      const [foundToken, foundRefusal, foundLock] = textsOf(reply.value);
      if (foundToken !== '') {
        const usable = usableToken(foundToken, places.first, asked);
        counts.operation(operation, usable === undefined ? 'invalid' : 'hit');
        if (usable !== undefined) return { kind: 'token', token: usable };
        asked.unwantedToken = foundToken.slice(0, UNWANTED_LENGTH);
      } else if (foundRefusal !== '') {
        const error = usableRefusal(foundRefusal, places);
        counts.operation(operation, error === undefined ? 'invalid' : 'hit');
        if (error !== undefined) return { kind: 'refusal', error };
        asked.unwantedRefusal = foundRefusal.slice(0, UNWANTED_LENGTH);
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
  async function peek(asked: Search, place: Place): Promise<SharedToken | undefined> {
    const args = ['', '0', String(MAX_SEALED_LENGTH), unwantedAt(place, asked.replaced), ''];
    const names = [place.token, place.refusal, place.lock];
    const reply = await store.use('lookup', (server) => server.run(ACQUIRE, names, args));
    const [token] = textsOf(reply?.value);
    return token === '' ? undefined : usableToken(token, place, asked);
  }

  /** Waits while the holder of the lock shows that it lives. */
  async function waitFor(asked: Search, first: LockValue): Promise<Found | undefined> {
    const startedMs = clock.monotonicMs();
    let { renewals } = first;
    let aliveMs = startedMs;
    for (let pollMs = FIRST_POLL_MS; ; pollMs = Math.min(MAX_POLL_MS, pollMs * 1.5)) {
      await sleep(pollMs * (0.5 + options.random() / 2));
      const found = await ask(asked, 'wait');
      if (found?.kind !== 'locked') return found;
      // The first holder failed. Every replica that waited for it now exchanges for itself, at the same time.
      if (found.lock.holder !== first.holder) return undefined;
      const nowMs = clock.monotonicMs();
      if (found.lock.renewals > renewals) {
        renewals = found.lock.renewals;
        aliveMs = nowMs;
      }
      if (nowMs - aliveMs > DEAD_MS || nowMs - startedMs > MAX_WAIT_MS) return undefined;
    }
  }

  /** Checks a token like one that was just issued. */
  function usableToken(value: string, place: Place, { places, replaced }: Search): SharedToken | undefined {
    const { entry } = places;
    const { portable, added } = readToken(openToken(value, place, places) ?? '') ?? {};
    if (portable === undefined || added === undefined || refused.has(digestOf(portable.token))) return undefined;
    if (!added.every((scope) => entry.route.stepUp.includes(scope))) return undefined;
    if (!entry.added.every((scope) => added.includes(scope))) return undefined;
    try {
      const token = restoreToken(portable, entry, options);
      // A token that is due for a refresh itself replaces nothing.
      const isDue = replaced !== undefined && token.lifetime.refreshAtMs <= clock.monotonicMs();
      return isDue ? undefined : { token, added };
    } catch {
      return undefined;
    }
  }

  function usableRefusal(value: string, places: Places): CambistError | undefined {
    const text = openRefusal(value, places.first, places);
    const error = text === undefined ? undefined : readRefusal(text, places.entry, clock.wallMs());
    if (error !== undefined) shared.add(error);
    return error;
  }

  /** Exchanges, and shares the result. The requests that wait do not wait for the store. */
  async function exchangeFor(
    places: Places | undefined,
    lock: LockValue,
    entry: SharedEntry,
    exchange: () => Promise<IssuedToken>,
  ): Promise<SharedToken> {
    if (places === undefined) return { token: await exchange(), added: entry.added };
    const startedMs = clock.monotonicMs();
    const stopRenewing = renewRegularly(places, lock);
    try {
      const token = await exchange();
      const isOver = (ended.get(entry.key) ?? Number.NEGATIVE_INFINITY) >= startedMs;
      finish(places, lock, isOver ? undefined : sealedToken(token, entry.added, places));
      return { token, added: entry.added };
    } catch (error) {
      finish(places, lock, sealedRefusal(error, places));
      throw error;
    } finally {
      stopRenewing();
    }
  }

  function renewRegularly({ first }: Places, lock: LockValue): () => void {
    let { renewals } = lock;
    const timer = setInterval(() => {
      renewals += 1;
      if (renewals * RENEW_MS > MAX_HOLD_MS) return clearInterval(timer);
      const value = writeLock({ ...lock, renewals }, first.lock, first.key);
      void store.use('wait', (server) => server.run(RENEW, [first.lock], [lock.holder, value, String(LOCK_MS)]));
    }, RENEW_MS).unref();
    return () => clearInterval(timer);
  }

  function finish({ first }: Places, lock: LockValue, result: Sealed | undefined): void {
    const args = [lock.holder, result?.value ?? '', String(result?.lifetimeMs ?? 1)];
    inBackground('keep', (server) => server.run(FINISH, [result?.name ?? first.token, first.lock], args));
  }

  function sealedToken(token: IssuedToken, added: readonly string[], places: Places): Sealed | undefined {
    const place = places.first;
    const portable = toPortable(token, options);
    const lifetimeMs = Math.floor(token.lifetime.reusableUntilMs - clock.monotonicMs());
    if (portable === undefined || lifetimeMs < 1) return undefined;
    const tag = tagOf(portable.token, place);
    const value = sealToken(writeToken(portable, added), tag, place, places);
    return value.length > MAX_SEALED_LENGTH ? undefined : { name: place.token, value, lifetimeMs };
  }

  function sealedRefusal(error: unknown, places: Places): Sealed | undefined {
    if (!(error instanceof CambistError) || !CACHED_ERRORS.has(error.code) || places.entry.subject === undefined) {
      return undefined;
    }
    const value = sealRefusal(writeRefusal(error, clock.wallMs()), places.first, places);
    return { name: places.first.refusal, value, lifetimeMs: refusalLifetimeMs(error) };
  }

  /** No request waits for it. */
  function inBackground(operation: Operation, work: Parameters<Store['use']>[1]): void {
    void store.use(operation, work, BACKGROUND_MS).then((reply) => reply && counts.operation(operation, 'ok'));
  }

  /** Does something at all places of an entry. */
  async function everywhere(entry: SharedEntry, work: (place: Place, places: Places) => void): Promise<void> {
    const places = await find(entry, 'drop');
    if (places !== undefined) for (const place of [places.first, ...places.others]) work(place, places);
  }

  function forget(entry: SharedEntry, token: IssuedToken): void {
    const value = bareToken(token);
    void everywhere(entry, (place) =>
      inBackground('drop', (server) => server.run(FORGET, [place.token], [tagOf(value, place)])),
    );
  }

  return {
    async obtain(entry, exchange, replaced) {
      const lock = newLock();
      const places = await find(entry, 'lookup');
      if (places === undefined) return exchangeFor(undefined, lock, entry, exchange);
      const unwantedToken = unwantedAt(places.first, replaced);
      const found = await search({ places, lock, replaced, unwantedToken, unwantedRefusal: '' });
      if (found?.kind === 'token') return found.token;
      if (found?.kind === 'refusal') throw found.error;
      return exchangeFor(places, lock, entry, exchange);
    },
    isShared: (error) => shared.has(error),
    refuse(entry, token) {
      refused.set(digestOf(bareToken(token)), true);
      forget(entry, token);
    },
    give(entry, token) {
      void find(entry, 'keep').then((places) => {
        const sealed = places && sealedToken(token, entry.added, places);
        if (sealed !== undefined) {
          inBackground('keep', (server) => server.add(sealed.name, sealed.value, sealed.lifetimeMs));
        }
      });
    },
    release: forget,
    endSession(entry) {
      ended.set(entry.key, clock.monotonicMs());
      void everywhere(entry, (place) => inBackground('drop', (server) => server.delete([place.token])));
      void messages.publish('session_ended', { key: entry.key });
    },
    onSessionEnded(listener) {
      messages.on('session_ended', (payload) => {
        const { key } = Object(payload) as { key?: unknown };
        if (typeof key !== 'string') return;
        ended.set(key, clock.monotonicMs());
        listener(key);
      });
    },
    consented(entry) {
      void everywhere(entry, (place) => inBackground('drop', (server) => server.delete([place.refusal])));
    },
  };
}

/** Time limit of work that no request waits for. */
const BACKGROUND_MS = 1000;

/** A value for the store, and where it goes. */
interface Sealed {
  readonly name: string;
  readonly value: string;
  readonly lifetimeMs: number;
}

/** Three texts of a reply. A malformed reply has none. */
function textsOf(reply: unknown): readonly [token: string, refusal: string, lock: string] {
  const [token, refusal, lock] = Array.isArray(reply) ? (reply as unknown[]) : [];
  const text = (value: unknown): string => (typeof value === 'string' ? value : '');
  return [text(token), text(refusal), text(lock)];
}

function unwantedAt(place: Place, replaced: IssuedToken | undefined): string {
  return replaced === undefined ? '' : tagOf(bareToken(replaced), place);
}

/** The token without its scheme. */
function bareToken({ authorization }: IssuedToken): string {
  const value = authorization.reveal();
  return value.slice(value.indexOf(' ') + 1);
}

function digestOf(token: string): string {
  return hash('sha256', token, 'base64url');
}
