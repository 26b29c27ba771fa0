import type { CambistError, ErrorCode } from '../errors.ts';
import { type Logger, loggedError, milliseconds } from '../observability/logger.ts';
import { callerTraceId } from './caller-ids.ts';
import type { Passage } from './passage.ts';

/** Nobody has to act: each rollout has the one, each flood the other, and whoever tries again is served. */
const PASSING: ReadonlySet<ErrorCode> = new Set(['ERR_SHUTTING_DOWN', 'ERR_OVERLOADED']);

/**
 * Writes the line of a request that has ended. It is on the path of every request: what is not known is not in it.
 * @param keep is asked for a request that went well: is it among those whose line is written?
 */
export function logRequest(logger: Logger, passage: Passage, totalMs: number, keep: () => boolean): void {
  const { answer, error, cutBy } = passage;
  if (
    answer !== undefined &&
    answer.status < 400 &&
    cutBy === undefined &&
    (!logger.isLevelEnabled('info') || !keep())
  ) {
    return;
  }
  logger.writeJson(levelOf(error), fieldsOf(passage, totalMs), 'request');
}

function levelOf(error: CambistError | undefined): 'info' | 'warn' | 'error' {
  if (error === undefined) return 'info';
  return error.status < 500 || PASSING.has(error.code) ? 'warn' : 'error';
}

/**
 * The fields of a request's line, of which `config/log.md` has the table. Ids, names and fixed words have no character
 * that JSON escapes, so they are put between quotes as they are.
 */
function fieldsOf(passage: Passage, totalMs: number): string {
  const { id, request, route, cache, answer, error, exchangeMs, stepUp, cutBy } = passage;
  const traceId = passage.span?.traceId ?? callerTraceId(request.rawHeaders, passage.credentialHeaders);
  let json = `"request_id":"${id}","total_ms":${milliseconds(totalMs)}`;
  if (traceId !== undefined) json += `,"trace_id":"${traceId}"`;
  if (route !== undefined) json += `,"route":"${route.name}"`;
  if (request.method !== undefined) json += `,"method":"${request.method}"`;
  if (answer !== undefined) {
    const { status, outcome, durationMs } = answer;
    json += `,"status":${status},"outcome":"${outcome}","duration_ms":${milliseconds(durationMs)}`;
  }
  if (cache !== undefined) json += `,"cache":"${cache}"`;
  if (exchangeMs !== undefined) json += `,"exchange_ms":${milliseconds(exchangeMs)}`;
  if (stepUp !== undefined) json += `,"step_up":${JSON.stringify(stepUp.join(' '))}`;
  if (cutBy !== undefined) json += `,"cut_by":"${cutBy}"`;
  if (error !== undefined) json += `,"error":"${error.code}","err":${JSON.stringify(loggedError(error))}`;
  return json;
}
