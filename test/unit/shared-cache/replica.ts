import type { TestContext } from 'node:test';
import { type Clock, systemClock } from '../../../src/clock/clock.ts';
import type { TokenCredential } from '../../../src/config/route.ts';
import type { SharedCache } from '../../../src/config/shared-cache.ts';
import { CambistError } from '../../../src/errors.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import { createMessages } from '../../../src/shared-cache/messages.ts';
import type { StoreState } from '../../../src/shared-cache/reconnector.ts';
import { deriveStoreKey, type StoreKeyList, type StoreKeys } from '../../../src/shared-cache/seal.ts';
import { createSecondLevel } from '../../../src/shared-cache/second-level.ts';
import { createSharedHandles } from '../../../src/shared-cache/shared-handles.ts';
import { createRecords, type SharedRecords } from '../../../src/shared-cache/shared-records.ts';
import { createStore } from '../../../src/shared-cache/store.ts';
import { createStoreCounts } from '../../../src/shared-cache/store-counts.ts';
import type { IssuedToken } from '../../../src/tokens/issued-token.ts';
import { computeLifetime } from '../../../src/tokens/lifetime.ts';
import { type KeyedRequest, resourceDigest, tokenKey } from '../../../src/tokens/session.ts';
import { deferred, eventually } from '../../harness/eventually.ts';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { routeOf, subjectOf } from '../tokens/sample.ts';

export const NEW_KEY = deriveStoreKey('the key that all replicas of the tests share');
export const OLD_KEY = deriveStoreKey('a key that all replicas of the tests had before');

export const SHARED: SharedCache = {
  server: { kind: 'standalone', node: { host: '127.0.0.1', port: 6379 } },
  username: undefined,
  password: undefined,
  tls: undefined,
  allowInsecureTcp: false,
  keys: [{ env: 'UNUSED' }],
  prefix: 'cambist',
  // Long enough for a busy machine. A silent server is waited for as long.
  timeoutMs: 2000,
};

/** Reads the key while it is readable. */
export const keysWhile = (isReadable: () => boolean): StoreKeys['read'] => {
  return async () => {
    if (!isReadable()) throw new CambistError('ERR_CREDENTIAL_UNAVAILABLE', 'the key is unreadable');
    return [NEW_KEY];
  };
};

/** All records, with the summary. */
export async function allRecords(records: SharedRecords) {
  const payloads: unknown[] = [];
  const summary = await records.readAll((page) => void payloads.push(...page.map(({ payload }) => payload)));
  return summary && { ...summary, payloads };
}

export interface ReplicaOptions {
  readonly keys?: StoreKeyList;
  readonly clock?: Clock;
  readonly timeoutMs?: number;
  readonly readKeys?: StoreKeys['read'];
  readonly maxAgeMs?: number;
}

export async function startReplica(t: TestContext, server: MemoryStore, options: ReplicaOptions = {}) {
  const { clock = systemClock, keys: list = [NEW_KEY], maxAgeMs = 300_000 } = options;
  const counts = createStoreCounts();
  const states: StoreState[] = [];
  const keys: StoreKeys = { read: options.readKeys ?? (async () => list), current: list };
  const store = createStore({
    shared: { ...SHARED, timeoutMs: options.timeoutMs ?? SHARED.timeoutMs },
    connect: server.connect,
    clock,
    counts,
    prepare: keys.read,
    onChange: (state) => void states.push(state),
  });
  t.after(store.close);
  const parts = { store, keys, counts, clock, prefix: SHARED.prefix };
  const messages = createMessages(parts);
  const second = createSecondLevel({ ...parts, messages, maxAgeMs: () => maxAgeMs, random: () => 0.5 });
  const records = createRecords(parts);
  await store.start();
  const obtain = (token: string | Error, entry: KeyedRequest = entryOf(), replaced?: IssuedToken) =>
    second.obtain(entry, exchangeOf(token, clock), replaced);
  return {
    second,
    /** Obtains the token of an entry. An exchange issues one of this name. */
    obtain,
    /** The same, until the store has the token. */
    async share(...args: Parameters<typeof obtain>) {
      const shared = await obtain(...args);
      await released(server);
      return shared;
    },
    /** Holds the lock of an entry in an exchange that is in flight until the returned function is called. */
    async hold(entry = entryOf(), token: string | Error = 'held') {
      const exchange = exchangeOf(token, clock);
      const { promise, resolve } = deferred<void>();
      exchange.until = promise;
      const pending = second.obtain(entry, exchange, undefined);
      pending.catch(() => {});
      await eventually('it holds the lock', () => exchange.calls === 1);
      return { pending, release: () => resolve() };
    },
    messages,
    records,
    handles: createSharedHandles(parts),
    store,
    counts,
    states,
    /** The number of operations with a result. */
    counted(operation: string, result: string): number {
      const text = counts.families(() => true)[0]?.text() ?? '';
      return Number(text.split(`operation="${operation}",result="${result}"} `)[1]?.split('\n')[0] ?? 0);
    },
  };
}

/** A replica with a server of its own. */
export async function startAlone(t: TestContext, options?: ReplicaOptions) {
  const server = createMemoryStore();
  return { server, ...(await startReplica(t, server, options)) };
}

export async function startPair(t: TestContext, options?: ReplicaOptions) {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server, options), startReplica(t, server, options)]);
  return { server, one, other };
}

export function entryOf({
  route = routeOf(),
  token = 'alice',
  session: id = undefined as string | undefined,
  added = [] as readonly string[],
} = {}) {
  const session = { subject: subjectOf(token), id };
  const resource = resourceDigest(route);
  const key = tokenKey(session, resource);
  const credential = route.credential as TokenCredential;
  return { route, credential, session, resource, key, cause: undefined, added } satisfies KeyedRequest;
}

/** A token that was just issued, and lives for 100 seconds. */
export function issued(token: string, clock: Clock = systemClock): IssuedToken {
  const bounds = {
    sentAtMs: clock.monotonicMs(),
    expiresInSeconds: 100,
    subjectExpiresAtMs: undefined,
    maxAgeMs: 300_000,
  };
  return {
    authorization: new Secret(`Bearer ${token}`),
    granted: { audience: [], scope: undefined },
    lifetime: computeLifetime(undefined, bounds, clock, 0.5),
  };
}

export function exchangeOf(token: string | Error, clock?: Clock) {
  const exchange = Object.assign(
    async (): Promise<IssuedToken> => {
      exchange.calls += 1;
      await exchange.until;
      if (token instanceof Error) throw token;
      return issued(`${token}-${exchange.calls}`, clock);
    },
    { calls: 0, until: Promise.resolve() as Promise<unknown> },
  );
  return exchange;
}

export function bearer({ token }: { readonly token: IssuedToken }): string {
  return token.authorization.reveal();
}

/** Names of the tokens in the store, or of its locks. */
export const namesOf = ({ values }: MemoryStore, kind: 't' | 'l'): string[] =>
  [...values.keys()].filter((name) => name.includes(`}:${kind}`));

/** The token that a replica wrote is in the store. */
export const written = (server: MemoryStore) => eventually('tokens are written', () => namesOf(server, 't').length > 0);

export const removed = (server: MemoryStore) => eventually('it is removed', () => namesOf(server, 't').length === 0);

export const released = (server: MemoryStore) =>
  eventually('the lock is free', () => namesOf(server, 'l').length === 0);
