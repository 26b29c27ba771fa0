import type { Logger } from '../logger.ts';
import { headerValues, sharesText, tokensOf } from './headers.ts';
import type { Passage } from './passage.ts';

/** The fields of a request's line in the log; `config/README.md` has the table. */
interface RequestLine {
  request_id: string;
  trace_id?: string;
  route?: string;
  method?: string;
  status?: number;
  outcome?: string;
  error?: string;
  cut_by?: 'upstream' | 'caller';
  cache?: string;
  duration_ms?: number;
  exchange_ms?: number;
  total_ms: number;
  step_up?: string;
  err?: Error;
}

/**
 * Writes the line of a request that has ended. It is on the path of every request: what is not known is not in it.
 * @param keep is asked for a request that went well: is it among those whose line is written?
 */
export function logRequest(logger: Logger, passage: Passage, totalMs: number, keep: () => boolean): void {
  const { answer, error } = passage;
  const cut = cutBy(passage);
  if (answer !== undefined && answer.status < 400 && cut === undefined && (!logger.isLevelEnabled('info') || !keep())) {
    return;
  }
  const line: RequestLine = { request_id: passage.id, total_ms: rounded(totalMs) };
  const traceId = passage.span?.traceId ?? callersTraceId(passage);
  if (traceId !== undefined) line.trace_id = traceId;
  if (passage.route !== undefined) line.route = passage.route.name;
  if (passage.request.method !== undefined) line.method = passage.request.method;
  if (answer !== undefined) {
    line.status = answer.status;
    line.outcome = answer.outcome;
    line.duration_ms = rounded(answer.durationMs);
  }
  if (passage.cache !== undefined) line.cache = passage.cache;
  if (passage.exchangeMs !== undefined) line.exchange_ms = rounded(passage.exchangeMs);
  if (passage.stepUp !== undefined) line.step_up = passage.stepUp.join(' ');
  if (cut !== undefined) line.cut_by = cut;
  if (error === undefined) {
    logger.info(line, 'request');
    return;
  }
  line.error = error.code;
  line.err = error;
  if (error.status < 500) logger.warn(line, 'request');
  else logger.error(line, 'request');
}

/** Who ended an answer that had begun and was not whole. */
export function cutBy({ relay, response }: Passage): 'upstream' | 'caller' | undefined {
  if (relay === undefined || response.writableFinished) return undefined;
  return relay.hasFailed() ? 'upstream' : 'caller';
}

/** @see W3C Trace Context section 3.2 */
const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-|$)/;

/** The trace that the caller takes part in, unless it is the caller's token under another name. */
export function callersTraceId({ request, route }: Pick<Passage, 'request' | 'route'>): string | undefined {
  const [value, ...more] = headerValues(request.rawHeaders, 'traceparent');
  if (value === undefined || more.length > 0) return undefined;
  const traceId = TRACEPARENT.exec(value)?.[1];
  if (traceId === undefined) return undefined;
  const headers = new Set(['authorization', route?.subjectToken.header ?? 'authorization']);
  const tokens = tokensOf([...headers].flatMap((header) => headerValues(request.rawHeaders, header)));
  return sharesText(traceId, tokens) ? undefined : traceId;
}

/** Microseconds are enough for a log. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
