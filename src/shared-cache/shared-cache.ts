import type { Clock } from '../clock/clock.ts';
import type { SharedCache } from '../config/shared-cache.ts';
import type { Logger } from '../observability/logger.ts';
import { createMessages } from './messages.ts';
import type { StoreState } from './reconnector.ts';
import { createStoreKeys } from './seal.ts';
import { createSecondLevel } from './second-level.ts';
import { createSharedHandles } from './shared-handles.ts';
import { createRecords } from './shared-records.ts';
import { createStore } from './store.ts';
import { type ConnectStore, connectStore } from './store-connection.ts';
import { createStoreCounts } from './store-counts.ts';
import { FIXES, labelOf } from './store-problems.ts';

export type SharedCacheStatus = ReturnType<typeof statusOf>;

export type SharedCacheSide = Awaited<ReturnType<typeof openSharedCache>>;

interface SharedCacheOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly maxAgeMs: () => number;
  /** Connects to the server. Tests replace it. */
  readonly connect?: ConnectStore;
}

/** Connects to the shared cache. A server that is down delays the start by a second at most. Connecting is retried until it succeeds. */
export async function openSharedCache(shared: SharedCache, options: SharedCacheOptions) {
  const { clock, logger, maxAgeMs, connect = connectStore } = options;
  const { prefix } = shared;
  const counts = createStoreCounts();
  const keys = createStoreKeys(shared.keys);
  const onChange = (state: StoreState): void => logChange(state, logger);
  const store = createStore({ shared, connect, clock, counts, prepare: keys.read, onChange });
  const parts = { store, keys, counts, clock, prefix };
  const messages = createMessages(parts);
  const secondLevel = createSecondLevel({ ...parts, messages, maxAgeMs, random: Math.random });
  await store.start();
  return {
    secondLevel,
    messages,
    records: createRecords(parts),
    handles: createSharedHandles(parts),
    families: counts.families(() => store.state.isAvailable),
    status: (): SharedCacheStatus => statusOf(store.state),
    close: store.close,
  };
}

function logChange({ isAvailable, problem, error }: StoreState, logger: Logger): void {
  if (isAvailable) logger.info({}, 'shared cache is available');
  else if (problem !== undefined) {
    const fields = { reason: problem, cause: labelOf(error), fix: FIXES[problem] };
    logger.warn(fields, 'shared cache is unavailable; exchanging without it');
  }
}

function statusOf({ isAvailable, problem, sinceMs }: StoreState) {
  return {
    available: isAvailable,
    // Missing while it is available.
    ...(problem !== undefined && { problem, fix: FIXES[problem] }),
    since: new Date(sinceMs).toISOString(),
  };
}
