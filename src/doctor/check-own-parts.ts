import { once } from 'node:events';
import { constants } from 'node:fs/promises';
import { type IncomingMessage, request } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../clock/clock.ts';
import { withBrackets } from '../config/addresses.ts';
import type { Audit } from '../config/audit.ts';
import type { Inbound } from '../config/inbound.ts';
import type { SharedCache, StoreNode } from '../config/shared-cache.ts';
import { isAccessible } from '../config/sources.ts';
import { errorCode } from '../errors.ts';
import { readPseudonymKey } from '../secrets/credential.ts';
import type { RecordSummary } from '../shared-cache/shared-records.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import { attempt, credentialFinding } from './check-server.ts';
import { type Finding, type Found, fine, problem, shortAscii, warning } from './finding.ts';
import { codeOf } from './unreachable.ts';

/** The agent may take this long to accept a connection and to respond, and the reader of a socket to accept. */
const PATIENCE_MS = 2000;

/** A lower status shows that the agent works: it may have no such path, or require a token. */
const FIRST_SERVER_ERROR = 500;

const FIX =
  'start the agent where inbound.agent says, or correct inbound.agent: agents often read their port from PORT';

/** Sends the agent a GET without a token, for an open path if there is one. */
export async function checkAgent({ agent, open }: Inbound, found: Found): Promise<void> {
  const path = open.find(({ isPrefix }) => !isPrefix)?.path ?? '/';
  const { origin, socketPath } = agent;
  const where = socketPath === undefined ? origin : `unix:${socketPath}`;
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const sent = request(`${origin}${path}`, { agent: false, signal, ...(socketPath !== undefined && { socketPath }) });
  sent.end();
  try {
    const [{ statusCode = 0 }] = (await once(sent, 'response')) as [IncomingMessage];
    found(responded(where, path, statusCode));
  } catch (error) {
    found(failed(where, signal.aborted ? SILENT.message : codeOf(error)));
  } finally {
    sent.on('error', () => {}).destroy();
  }
}

const SILENT = new Error('it did not respond in time');

function responded(where: string, path: string, status: number): Finding {
  if (status < FIRST_SERVER_ERROR)
    return fine('agent_reached', `the agent at ${where} responds, with ${status} to GET ${path}`);
  return warning('agent_error', `the agent at ${where} responds with ${status} to GET ${path}`, {
    fix: "check the agent's log: it may not have started completely",
  });
}

function failed(where: string, code: string): Finding {
  if (code.startsWith('HPE_')) {
    return problem('agent_not_http', `the agent at ${where} does not respond in plain HTTP (${code})`, {
      why: 'it expects TLS there, or something else listens there',
      fix: 'let the agent serve plain HTTP on loopback, and set inbound.agent to that address',
    });
  }
  const why = ['ECONNREFUSED', 'ENOENT'].includes(code) ? `nothing listens there (${code})` : code;
  return problem('agent_unreachable', `the agent at ${where} cannot be reached`, { why, fix: FIX });
}

/** Connects to the SPIFFE agent, whose SVIDs other checks use, and waits for the first one. */
export async function openSpiffe(address: string): Promise<WorkloadApi> {
  // Loaded here, because most configs have no SPIFFE agent.
  const { createWorkloadApi } = await import('../spiffe/workload-api.ts');
  const api = createWorkloadApi({ address, clock: systemClock, logger: { info() {}, warn() {} } });
  await Promise.race([api.ready, delay(PATIENCE_MS, undefined, { ref: false })]);
  return api;
}

export async function checkSpiffe(api: WorkloadApi, found: Found): Promise<void> {
  const { failure } = await attempt(api.prepare);
  const [svid, trustDomains] = [api.svid(), [...api.bundles().keys()]];
  if (svid === undefined) {
    const why = shortAscii((failure?.cause as Error | undefined)?.message ?? 'it did not respond in time');
    found(problem('spiffe_unavailable', failure?.message ?? 'no SVID', { why }));
  } else {
    const until = new Date(svid.expiresAtMs).toISOString();
    found(fine('spiffe_reached', `it issues ${svid.spiffeId.id} until ${until}, for ${trustDomains.join(', ')}`));
  }
}

/** Checks the key and the destination of the audit trail. Writes no record. */
export async function checkAudit({ to, pseudonymize }: Audit, found: Found): Promise<void> {
  if (pseudonymize !== undefined) {
    const { failure } = await attempt(() => readPseudonymKey(pseudonymize.key));
    if (failure !== undefined) found(credentialFinding(failure));
  }
  switch (to.kind) {
    case 'file':
      found(await checkFile(to.path));
      break;
    case 'unix':
      found(await checkSocket(to.path));
      break;
    default:
      found(
        fine(
          'audit_reached',
          `records go to ${to.kind === 'otlp' ? 'the OpenTelemetry collector' : 'standard output'}`,
        ),
      );
  }
}

async function checkFile(path: string): Promise<Finding> {
  // The file may be a link to another file system.
  const place = (await isAccessible(path, constants.F_OK)) ? path : dirname(path);
  const isWritable = await isAccessible(place, constants.W_OK);
  if (isWritable) return fine('audit_reached', `records can be written to "${path}"`);
  return problem('audit_unreachable', `records cannot be written to "${path}"`, {
    why: 'the folder is missing, or this user may not write there',
    fix: 'create or mount the folder of audit.to.file, writable for the user of cambist',
  });
}

async function checkSocket(path: string): Promise<Finding> {
  const socket = connect({ path });
  socket.setTimeout(PATIENCE_MS, () => socket.destroy(SILENT));
  try {
    await once(socket, 'connect');
    return fine('audit_reached', `the Unix socket "${path}" accepts records`);
  } catch (error) {
    return problem('audit_unreachable', `the Unix socket "${path}" of audit.to accepts no connection`, {
      why: errorCode(error) ?? (error as Error).message,
      fix: 'start the program that reads the records, and mount its socket where cambist runs',
    });
  } finally {
    socket.destroy();
  }
}

/**
 * Checks the key and the server of the shared cache. Writes values, which it removes.
 * @param withSignals whether replicas share revocations through it
 */
export async function checkSharedCache(shared: SharedCache, withSignals: boolean, found: Found): Promise<void> {
  // Loaded here, because most configs have no shared cache.
  const { createStoreKeys } = await import('../shared-cache/seal.ts');
  const { failure } = await attempt(createStoreKeys(shared.keys).read);
  if (failure !== undefined) found(credentialFinding(failure));
  const { probeStore } = await import('../shared-cache/probe-store.ts');
  const result = await probeStore(shared, withSignals);
  if (result.problem !== undefined) {
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
