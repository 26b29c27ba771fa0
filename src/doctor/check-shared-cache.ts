import type { SharedCache, StoreNode } from '../config/optional-sections.ts';
import { credentialFinding, failureOf } from './check-server.ts';
import { type Finding, fine, problem, warning } from './finding.ts';

/** Checks the key and the server of the shared cache. Writes one value, which it removes. */
export async function checkSharedCache(shared: SharedCache, found: (finding: Finding) => void): Promise<void> {
  // Loaded here, because most configs have no shared cache.
  const { createStoreKeys } = await import('../shared-cache/keys.ts');
  const failure = await failureOf(createStoreKeys(shared.keys).read);
  if (failure !== undefined) found(credentialFinding(failure));
  const { probeStore } = await import('../shared-cache/probe.ts');
  const result = await probeStore(shared);
  if ('problem' in result) {
    const { cause, fix } = result;
    const why = `${result.problem}: ${cause}`;
    found(
      problem('shared_cache_unavailable', 'replicas cannot use the shared cache, and exchange alone', { why, fix }),
    );
    return;
  }
  const ms = Math.ceil(result.durationMs);
  if (ms > shared.timeoutMs) {
    found(
      warning('shared_cache_slow', `the server took ${ms} ms, longer than cache.shared.timeout`, {
        why: 'it is far away or busy, or this was its first operation',
        fix: 'run doctor where cambist runs, and raise cache.shared.timeout if the time is the same there',
      }),
    );
    return;
  }
  found(fine('shared_cache_reached', `the server accepts writes, scripts and messages; an operation took ${ms} ms`));
}

/** The servers as a title names them. */
export function serversOf({ server }: SharedCache): string {
  const nodes: readonly StoreNode[] = server.kind === 'standalone' ? [server.node] : server.nodes;
  return nodes.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`).join(', ');
}
