import type { CambistError, ErrorCode } from '../errors.ts';
import { type Logger, loggedError, milliseconds } from '../observability/logger.ts';
import { callerTraceId } from './caller-ids.ts';
import type { RequestRecord } from './proxy-request.ts';

/** Nobody has to act: each rollout has the one, each flood the other, and whoever tries again is served. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['ERR_SHUTTING_DOWN', 'ERR_OVERLOADED']);

/**
 * Writes the line of a request that has ended. It is on the path of every request: what is not known is not in it.
 * @param keep is asked for a request that went well: is it among those whose line is written?
 */
export function logRequest(logger: Logger, record: RequestRecord, totalMs: number, keep: () => boolean): void {
  const { responseStart, error, abortedBy } = record;
  if (
    responseStart !== undefined &&
    responseStart.status < 400 &&
    abortedBy === undefined &&
    (!logger.isLevelEnabled('info') || !keep())
  ) {
    return;
  }
  logger.writeJson(levelOf(error), fieldsOf(record, totalMs), 'request');
}

function levelOf(error: CambistError | undefined): 'info' | 'warn' | 'error' {
  if (error === undefined) return 'info';
  return error.status < 500 || PASSING.has(error.code) ? 'warn' : 'error';
}

/**
 * The fields of a request's line, of which `config/log.md` has the table. Ids, names and fixed words have no character
 * that JSON escapes, so they are put between quotes as they are.
 */
function fieldsOf(record: RequestRecord, totalMs: number): string {
  const { id, incoming, active, span, route, cacheResult, responseStart, error, exchangeMs, stepUp, abortedBy } =
    record;
  const traceId = span?.traceId ?? callerTraceId(incoming.rawHeaders, active.credentialHeaders);
  let json = `"request_id":"${id}","total_ms":${milliseconds(totalMs)}`;
  if (traceId !== undefined) json += `,"trace_id":"${traceId}"`;
  if (route !== undefined) json += `,"route":"${route.name}"`;
  if (incoming.method !== undefined) json += `,"method":"${incoming.method}"`;
  if (responseStart !== undefined) {
    const { status, outcome, durationMs } = responseStart;
    json += `,"status":${status},"outcome":"${outcome}","duration_ms":${milliseconds(durationMs)}`;
  }
  if (cacheResult !== undefined) json += `,"cache":"${cacheResult}"`;
  if (exchangeMs !== undefined) json += `,"exchange_ms":${milliseconds(exchangeMs)}`;
  if (stepUp !== undefined) json += `,"step_up":${JSON.stringify(stepUp.join(' '))}`;
  if (abortedBy !== undefined) json += `,"cut_by":"${abortedBy}"`;
  if (error !== undefined) json += `,"error":"${error.code}","err":${JSON.stringify(loggedError(error))}`;
  return json;
}
