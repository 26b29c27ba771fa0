import type { IncomingMessage } from 'node:http';
import type { Route } from '../config/config.ts';
import type { Span, Tracing } from '../observability/tracing.ts';
import { callerTraceContext } from './caller-ids.ts';
import type { CredentialHeaders } from './caller-tokens.ts';
import type { RequestRecord } from './proxy-request.ts';

/** Others are one to a span's name, since a caller could make up as many as it likes. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY']);

/**
 * Begins the span of a request, in its caller's trace where it takes part in one. Neither path nor query is in it: they
 * are the caller's, and may name somebody.
 * @see OpenTelemetry semantic conventions, HTTP server spans
 */
export function beginSpan(tracing: Tracing, request: IncomingMessage, credentialHeaders: CredentialHeaders): Span {
  const { traceparent, tracestate } = callerTraceContext(request.rawHeaders, credentialHeaders);
  const { method = '' } = request;
  return tracing.beginRequest(METHODS.has(method) ? method : '_OTHER', traceparent, tracestate);
}

/** @see OpenTelemetry semantic conventions: a server span is named by method and route */
export function nameSpan({ span, incoming }: RequestRecord, route: Route): void {
  if (span === undefined) return;
  span.rename(`${incoming.method} ${route.match.path}`);
  span.set({ 'http.route': route.match.path, 'cambist.route': route.name });
}

/** An answer of 4xx is no fault of a server's span; one of 5xx is. */
export function endSpan({ span, responseStart, error, cacheResult, id, stepUp, abortedBy }: RequestRecord): void {
  if (span === undefined) return;
  const status = responseStart?.status;
  const failed = status !== undefined && status >= 500 ? (error?.code ?? String(status)) : abortedBy;
  span.end(
    {
      'http.response.status_code': status,
      'cambist.outcome': responseStart?.outcome,
      'cambist.cache': cacheResult,
      'cambist.error': error?.code,
      'cambist.request_id': id,
      'cambist.step_up': stepUp !== undefined ? true : undefined,
    },
    failed,
  );
}
