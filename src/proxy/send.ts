import type { Dispatcher } from 'undici';
import { valueFor } from '../tokens/issued-token.ts';
import { type Dispatchers, upstreamPeer } from '../transport/dispatchers.ts';
import type { AttemptPlan } from './steps.ts';
import { traced } from './upstream-span.ts';

type Handler = Dispatcher.DispatchHandler;

/**
 * Sends one attempt of a request: its headers and body, the issued token and, where the token is bound to a key, a DPoP proof.
 * @returns undefined where it was sent at once. The promise rejects where it could not be sent.
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
