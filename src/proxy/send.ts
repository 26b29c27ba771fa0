import type { Dispatcher } from 'undici';
import type { Route } from '../config/route.ts';
import { errorCode } from '../errors.ts';
import type { Span } from '../observability/tracing.ts';
import { valueFor } from '../tokens/issued-token.ts';
import { type Dispatchers, upstreamPeer } from '../transport/dispatchers.ts';
import { headerValues, without } from './headers.ts';
import type { AttemptPlan } from './steps.ts';

type Handler = Dispatcher.DispatchHandler;

/**
 * Sends one attempt of a request: its headers and body, the issued token and, where the token is bound to a key, a DPoP proof.
 * @returns undefined if the request was sent at once. The promise rejects if it has no proof or no pool.
 * @see RFC 6750 section 2.1, RFC 9449 section 7.1
 */
export function sendAttempt(
  plan: AttemptPlan,
  isWebSocket: boolean,
  dispatchers: Dispatchers,
  handler: Handler,
): Promise<void> | undefined {
  const { token, prepared } = plan;
  const { request, route, path, headers } = prepared;
  if (token === undefined) return transmit(plan, headers, isWebSocket, dispatchers, handler);
  const withToken =
    route.send === undefined
      ? [...headers, 'authorization', token.authorization.reveal()]
      : [...headers, route.send.header, valueFor(route.send, token)];
  if (token.dpop === undefined) return transmit(plan, withToken, isWebSocket, dispatchers, handler);
  return token.dpop
    .prove(request.incoming.method as string, route.upstream.origin, path)
    .then((proof) => transmit(plan, [...withToken, 'dpop', proof], isWebSocket, dispatchers, handler));
}

function transmit(
  { prepared: { request, route, path }, content, isRetry = false }: AttemptPlan,
  headers: readonly string[],
  isWebSocket: boolean,
  dispatchers: Dispatchers,
  handler: Handler,
): Promise<void> | undefined {
  const method = request.incoming.method as Dispatcher.HttpMethod;
  const options = {
    origin: route.upstream.origin,
    path,
    method,
    headers: headers as string[],
    body: content as Dispatcher.DispatchOptions['body'] & {},
    headersTimeout: route.timeouts.responseHeadersMs,
    ...(isWebSocket && { upgrade: 'websocket' }),
  };
  // Each attempt looks up the pool: after TLS files changed, the previous pool accepts no requests.
  const pool = dispatchers.for(upstreamPeer(route));
  const { span } = request.record;
  if (span === undefined) return dispatch(pool, options, handler);
  const spanned = traced(span, route, method, isRetry, options.headers, handler);
  return dispatch(pool, { ...options, headers: spanned.headers as string[] }, spanned.handler);
}

function dispatch(
  pool: ReturnType<Dispatchers['for']>,
  options: Dispatcher.DispatchOptions,
  handler: Handler,
): Promise<void> | undefined {
  if (pool instanceof Promise) return pool.then((ready) => void ready.dispatch(options, handler));
  pool.dispatch(options, handler);
  return undefined;
}

/** Headers that the span of the attempt replaces. */
const TRACE_CONTEXT: ReadonlySet<string> = new Set(['traceparent', 'tracestate']);
const TRACE_STATE: ReadonlySet<string> = new Set(['tracestate']);

/**
 * Wraps one attempt in a span, which becomes the upstream's trace context and ends with the response.
 * @param headers alternating names and values, as they would be sent without a span
 * @see OpenTelemetry semantic conventions, HTTP client spans
 */
function traced(
  request: Span,
  route: Route,
  method: string,
  isResent: boolean,
  headers: readonly string[],
  handler: Handler,
) {
  const { hostname, port, protocol } = new URL(route.upstream.origin);
  const span = request.child(method, {
    'http.request.method': method,
    'server.address': hostname,
    'server.port': port === '' ? (protocol === 'https:' ? 443 : 80) : Number(port),
    'url.scheme': protocol.slice(0, -1),
    'cambist.route': route.name,
    ...(isResent && { 'http.request.resend_count': 1 }),
  });
  return { headers: inContext(headers, span), handler: ending(handler, span) };
}

/** Replaces the caller's trace context by that of the span. A `tracestate` that was dropped stays out: it may have contained the caller's token. */
function inContext(headers: readonly string[], span: Span): string[] {
  const own = span.headers();
  const hasState = headerValues(headers, 'tracestate').length > 0;
  return [...without(headers, TRACE_CONTEXT), ...(hasState ? own : without(own, TRACE_STATE))];
}

function ending(handler: Handler, span: Span): Handler {
  let status: number | undefined;
  const end = (error?: string): void => {
    const failed = status !== undefined && status >= 400 ? String(status) : undefined;
    span.end({ 'http.response.status_code': status }, error ?? failed);
  };
  return {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onResponseData: (controller, chunk) => handler.onResponseData?.(controller, chunk),
    onResponseStart(controller, code, headers, message) {
      status = code;
      handler.onResponseStart?.(controller, code, headers, message);
    },
    onRequestUpgrade(controller, code, headers, socket) {
      status = code;
      handler.onRequestUpgrade?.(controller, code, headers, socket);
      end();
    },
    onResponseEnd(controller, trailers) {
      handler.onResponseEnd?.(controller, trailers);
      end();
    },
    onResponseError(controller, error) {
      handler.onResponseError?.(controller, error);
      end(errorCode(error) ?? error.name);
    },
  };
}
