import { withBrackets } from '../config/addresses.ts';
import type { SharedCache, StoreNode } from '../config/shared-cache.ts';
import type { RecordSummary } from '../shared-cache/shared-records.ts';
import { credentialFinding, failureOf } from './check-server.ts';
import { type Finding, type Found, fine, problem, warning } from './finding.ts';

/**
 * Checks the key and the server of the shared cache. Writes values, which it removes.
 * @param withSignals whether replicas share revocations through it
 */
export async function checkSharedCache(shared: SharedCache, withSignals: boolean, found: Found): Promise<void> {
  // Loaded here, because most configs have no shared cache.
  const { createStoreKeys } = await import('../shared-cache/seal.ts');
  const failure = await failureOf(createStoreKeys(shared.keys).read);
  if (failure !== undefined) found(credentialFinding(failure));
  const { probeStore } = await import('../shared-cache/probe-store.ts');
  const result = await probeStore(shared, withSignals);
  if ('problem' in result) {
    const { cause, fix } = result;
    const why = `${result.problem}: ${cause}`;
    found(
      problem('shared_cache_unavailable', 'replicas cannot use the shared cache, and exchange alone', { why, fix }),
    );
    if (withSignals) found(problem('revocations_not_shared', NOT_SHARED, { why, fix }));
    return;
  }
  found(speedOf(result.durationMs, shared));
  if (result.records !== undefined) found(recordFinding(result.records));
}

const NOT_SHARED = 'replicas do not share revocations, and one that starts now does not become ready';

function speedOf(durationMs: number, { timeoutMs }: SharedCache): Finding {
  const ms = Math.ceil(durationMs);
  if (ms <= timeoutMs) {
    return fine('shared_cache_reached', `the server accepts writes, scripts and messages; an operation took ${ms} ms`);
  }
  return warning('shared_cache_slow', `the server took ${ms} ms, longer than cache.shared.timeout`, {
    why: 'it is far away or busy, or this was its first operation',
    fix: 'run doctor where cambist runs, and raise cache.shared.timeout if the time is the same there',
  });
}

function recordFinding({ count, unreadable, isFull }: RecordSummary): Finding {
  if (isFull) {
    return problem('revocations_full', 'the server has no room for more revocations', {
      why: `replicas keep ${count} there, and one that starts while no other runs refuses all older tokens`,
      fix: 'lower signals.remember to the longest lifetime of a token',
    });
  }
  if (unreadable > 0) {
    return warning('revocations_unreadable', `${unreadable} records of revocations do not open`, {
      why: 'a replica with another key wrote them, or they were altered at the server',
      fix: 'give all replicas the same cache.shared.key; while it rotates, list both keys',
    });
  }
  return fine('revocations_shared', `replicas keep ${count} revocations there, which new replicas read`);
}

/** The servers as a title names them. */
export function storeServersOf({ server }: SharedCache): string {
  const nodes: readonly StoreNode[] = server.kind === 'standalone' ? [server.node] : server.nodes;
  return nodes.map(({ host, port }) => `${withBrackets(host)}:${port}`).join(', ');
}
