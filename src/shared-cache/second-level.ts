import { hash } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { LifetimeSettings } from '../tokens/accept-token.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { KeyedRequest } from '../tokens/session.ts';
import type { SecondLevel, SharedToken } from '../tokens/shared-token.ts';
import { bareToken } from '../tokens/token-text.ts';
import type { SharedMessages } from './messages.ts';
import { type Place, placeOf, type SealedToken, sealedToken, tagOf } from './results.ts';
import { FINISH, FORGET } from './scripts.ts';
import { createSearcher, newLock } from './search.ts';
import type { Store, StoreParts } from './store.ts';
import type { Operation } from './store-counts.ts';

interface SecondLevelOptions extends StoreParts, LifetimeSettings {
  readonly messages: SharedMessages;
}

/** Time limit of work that no request waits for. */
const BACKGROUND_MS = 1000;
/** Refused tokens and ended sessions that are remembered, so that the store cannot bring them back. */
const MAX_REMEMBERED = 10_000;

/** Tokens of callers and the ends of sessions, shared by replicas. */
export function createSecondLevel(options: SecondLevelOptions): SecondLevel {
  const { store, keys, counts, messages, prefix, clock } = options;
  const refused = new LRUCache<string, true>({ max: MAX_REMEMBERED });
  /** Monotonic milliseconds of the end, by key. */
  const ended = new LRUCache<string, number>({ max: MAX_REMEMBERED });
  const isRefused = (token: string): boolean => refused.has(digestOf(token));
  const search = createSearcher({ ...options, isRefused });

  /** Finds the places of a token under each key. None if the store is down, or the token is for cambist itself. */
  async function find(request: KeyedRequest, operation: Operation): Promise<readonly Place[]> {
    const { subject } = request.session;
    if (subject === undefined) return [];
    if (!store.state.isAvailable) {
      counts.operation(operation, 'skipped');
      return [];
    }
    try {
      return (await keys.read()).map((key) => placeOf(request, subject, key, prefix));
    } catch {
      // The store reads the keys again before its next connection, and reports it.
      counts.operation(operation, 'error');
      return [];
    }
  }

  function finish(place: Place, lock: string, result: SealedToken | undefined): void {
    const args = [lock, result?.value ?? '', String(result?.lifetimeMs ?? 1)];
    inBackground('keep', (server) => server.run(FINISH, [place.token, place.lock], args));
  }

  function inBackground(operation: Operation, work: Parameters<Store['use']>[1]): void {
    void store.use(operation, work, BACKGROUND_MS).then((reply) => reply && counts.operation(operation, 'ok'));
  }

  async function everywhere(request: KeyedRequest, work: (place: Place) => void): Promise<void> {
    for (const place of await find(request, 'drop')) work(place);
  }

  function forget(request: KeyedRequest, token: IssuedToken): void {
    const value = bareToken(token.authorization.reveal());
    void everywhere(request, (place) =>
      inBackground('drop', (server) => server.run(FORGET, [place.token], [tagOf(value, place)])),
    );
  }

  return {
    async obtain(request, exchange, replaced) {
      const [place] = await find(request, 'lookup');
      const own = async (): Promise<SharedToken> => ({
        token: await exchange(),
        added: request.added,
        isShared: false,
      });
      if (place === undefined) return own();
      const lock = newLock(place);
      const found = await search(place, lock, replaced);
      if (found !== undefined) return found;
      const startedMs = clock.monotonicMs();
      let result: SealedToken | undefined;
      try {
        const exchanged = await own();
        const isOver = (ended.get(request.key) ?? Number.NEGATIVE_INFINITY) >= startedMs;
        if (!isOver) result = sealedToken(exchanged.token, place, options);
        return exchanged;
      } finally {
        // The requests that wait do not wait for the store.
        finish(place, lock, result);
      }
    },
    dropRefused(request, token) {
      refused.set(digestOf(bareToken(token.authorization.reveal())), true);
      forget(request, token);
    },
    give(request, token) {
      void find(request, 'keep').then(([place]) => {
        const sealed = place && sealedToken(token, place, options);
        if (place !== undefined && sealed !== undefined) {
          inBackground('keep', (server) => server.add(place.token, sealed.value, sealed.lifetimeMs));
        }
      });
    },
    release: forget,
    endSession(request) {
      ended.set(request.key, clock.monotonicMs());
      void everywhere(request, (place) => inBackground('drop', (server) => server.delete([place.token])));
      void messages.publish('session_ended', { key: request.key });
    },
    onSessionEnded(listener) {
      messages.on('session_ended', (payload) => {
        const { key } = Object(payload) as { key?: unknown };
        if (typeof key !== 'string') return;
        ended.set(key, clock.monotonicMs());
        listener(key);
      });
    },
  };
}

function digestOf(token: string): string {
  return hash('sha256', token, 'base64url');
}
