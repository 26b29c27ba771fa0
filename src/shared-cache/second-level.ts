import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { LifetimeSettings } from '../tokens/accept-token.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { SecondLevel, SharedEntry, SharedToken } from '../tokens/shared-token.ts';
import { bareToken } from '../tokens/token-text.ts';
import type { SharedMessages } from './messages.ts';
import {
  type Place,
  type Places,
  placesOf,
  type SealedResult,
  sealedRefusal,
  sealedToken,
  sealingSecret,
  tagOf,
} from './results.ts';
import { FINISH, FORGET, RENEW } from './scripts.ts';
import { createSearcher, LOCK_MS, type LockValue, newLock, RENEW_MS, writeLock } from './search.ts';
import type { Store, StoreParts } from './store.ts';
import type { Operation } from './store-counts.ts';

interface SecondLevelOptions extends StoreParts, LifetimeSettings {
  readonly messages: SharedMessages;
}

/** Longest exchange that other replicas wait for. */
const MAX_HOLD_MS = 10_000;
/** Time limit of work that no request waits for. */
const BACKGROUND_MS = 1000;
/** Refused tokens and ended sessions that are remembered, so that the store cannot bring them back. */
const MAX_REMEMBERED = 10_000;

/** Tokens, refusals and the ends of sessions, shared by replicas. */
export function createSecondLevel(options: SecondLevelOptions): SecondLevel {
  const { store, keys, counts, messages, prefix, clock } = options;
  const refused = new LRUCache<string, true>({ max: MAX_REMEMBERED });
  /** Monotonic milliseconds of the end, by key. */
  const ended = new LRUCache<string, number>({ max: MAX_REMEMBERED });
  const isRefused = (token: string): boolean => refused.has(digestOf(token));
  const { search, isShared } = createSearcher({ ...options, isRefused });

  /** Finds the places of an entry, unless the store is down or the token must not be shared. */
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
      const shared = { token, added: entry.added };
      finish(places, lock, isOver ? undefined : sealedToken(shared, places, options));
      return shared;
    } catch (error) {
      finish(places, lock, sealedRefusal(error, places, clock));
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

  function finish({ first }: Places, lock: LockValue, result: SealedResult | undefined): void {
    const args = [lock.holder, result?.value ?? '', String(result?.lifetimeMs ?? 1)];
    inBackground('keep', (server) => server.run(FINISH, [result?.name ?? first.token, first.lock], args));
  }

  function inBackground(operation: Operation, work: Parameters<Store['use']>[1]): void {
    void store.use(operation, work, BACKGROUND_MS).then((reply) => reply && counts.operation(operation, 'ok'));
  }

  async function everywhere(entry: SharedEntry, work: (place: Place) => void): Promise<void> {
    const places = await find(entry, 'drop');
    if (places !== undefined) for (const place of [places.first, ...places.others]) work(place);
  }

  function forget(entry: SharedEntry, token: IssuedToken): void {
    const value = bareToken(token.authorization.reveal());
    void everywhere(entry, (place) =>
      inBackground('drop', (server) => server.run(FORGET, [place.token], [tagOf(value, place)])),
    );
  }

  return {
    async obtain(entry, exchange, replaced) {
      const lock = newLock();
      const places = await find(entry, 'lookup');
      if (places === undefined) return exchangeFor(undefined, lock, entry, exchange);
      const found = await search(places, lock, replaced);
      if (found?.kind === 'token') {
        // Moves a token of an older key to the first one, and frees the lock.
        if (found.isLocked) finish(places, lock, sealedToken(found.token, places, options));
        return found.token;
      }
      if (found?.kind === 'refusal') throw found.error;
      return exchangeFor(places, lock, entry, exchange);
    },
    isShared,
    refuse(entry, token) {
      refused.set(digestOf(bareToken(token.authorization.reveal())), true);
      forget(entry, token);
    },
    give(entry, token) {
      void find(entry, 'keep').then((places) => {
        const sealed = places && sealedToken({ token, added: entry.added }, places, options);
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

function digestOf(token: string): string {
  return hash('sha256', token, 'base64url');
}
