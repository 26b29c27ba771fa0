import { CambistError } from '../errors.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import { inTime } from '../shared-cache/time-limit.ts';
import type { Asker } from './ask-replicas.ts';
import type { Sync } from './sync-replicas.ts';

export interface ReadinessCheckOptions {
  readonly shared: Pick<SharedCacheSide, 'status'>;
  readonly sync: Pick<Sync, 'isComplete' | 'refresh' | 'completed' | 'wasEmpty'>;
  readonly asker: Pick<Asker, 'isAsking'>;
}

/** A readiness check that takes longer says why. */
const CHECK_MS = 500;

/**
 * Makes the readiness check, which settles when the kept revocations could be read.
 * @throws {CambistError} ERR_REVOCATIONS_UNKNOWN at first, which says why this takes time
 */
export function createReadinessCheck({ shared, sync, asker }: ReadinessCheckOptions): () => Promise<void> {
  let hasFailed = false;
  return async () => {
    if (sync.isComplete || (await isDoneSoon(sync.refresh()))) return;
    // The check that failed once then passes as soon as it can, and not at its next attempt.
    if (hasFailed) return sync.completed;
    hasFailed = true;
    throw unknown(shared.status(), sync.wasEmpty, asker.isAsking);
  };
}

async function isDoneSoon(work: Promise<boolean>): Promise<boolean> {
  return inTime(work, CHECK_MS).catch(() => false);
}

function unknown(
  { problem, fix }: ReturnType<SharedCacheSide['status']>,
  isEmpty: boolean,
  isAsking: boolean,
): CambistError {
  const asked = isAsking ? 'no running replica has replied yet' : 'no reply';
  const why = problem ?? (isEmpty ? 'the server is empty, and running replicas may still write to it' : asked);
  const error = new CambistError(
    'ERR_REVOCATIONS_UNKNOWN',
    `cache.shared: the kept revocations are unknown, so revoked tokens could be served: ${why}: see the fix of cache.shared in /status.json`,
  );
  error.diagnosis = {
    finding: 'revocations_not_shared',
    cause: `the shared cache has not shown yet which tokens are revoked: ${why}`,
    fix: fix ?? 'wait a few seconds; if it lasts, check the load of the server',
  };
  return error;
}
