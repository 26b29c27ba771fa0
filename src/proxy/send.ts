import type { Dispatcher } from 'undici';
import { type IssuedToken, valueFor } from '../tokens/issued-token.ts';
import { type Dispatchers, upstreamPeer } from '../transport/dispatchers.ts';
import type { RequestBody } from './request-body.ts';
import type { Admitted } from './steps.ts';
import { traced } from './upstream-span.ts';

/** One attempt to send a request. */
export interface AttemptPlan {
  /** Undefined on a route that needs none. */
  readonly token: IssuedToken | undefined;
  readonly content: RequestBody['content'];
  /** An earlier attempt reached the upstream. */
  readonly isRetry: boolean;
  /** An earlier attempt carried another token. */
  readonly hasNewToken: boolean;
  /** The DPoP proof carries the nonce that the upstream asked for. */
  readonly hasNonce: boolean;
}

/**
 * Sends one attempt of an admitted request: its headers and body, the issued token and, where the token is bound to a key, a
 * DPoP proof.
 * @param failed called where the attempt could not be sent
 * @see RFC 6750 section 2.1, RFC 9449 section 7.1
 */
export function sendAttempt(
  admitted: Admitted,
  { token, content, isRetry }: AttemptPlan,
  isWebSocket: boolean,
  dispatchers: Dispatchers,
  handler: Dispatcher.DispatchHandler,
  failed: (error: unknown) => void,
): void {
  const { request, route, path, headers } = admitted;
  const method = request.incoming.method as Dispatcher.HttpMethod;

  function transmit(withToken: readonly string[]): void {
    const options = {
      origin: route.upstream.origin,
      path,
      method,
      headers: withToken as string[],
      body: content as Dispatcher.DispatchOptions['body'] & {},
      headersTimeout: route.timeouts.responseHeadersMs,
      ...(isWebSocket && { upgrade: 'websocket' }),
    };
    if (request.span === undefined) {
      dispatch(options, handler);
      return;
    }
    const spanned = traced(request.span, route, method, isRetry, options.headers, handler);
    dispatch({ ...options, headers: spanned.headers as string[] }, spanned.handler);
  }

  /** Each attempt looks up the pool: after TLS files changed, the previous pool accepts no requests. */
  function dispatch(options: Dispatcher.DispatchOptions, to: Dispatcher.DispatchHandler): void {
    const pool = dispatchers.for(upstreamPeer(route));
    if (!(pool instanceof Promise)) pool.dispatch(options, to);
    else pool.then((ready) => ready.dispatch(options, to)).catch(failed);
  }

  if (token === undefined) {
    transmit(headers);
    return;
  }
  const withToken =
    route.send === undefined
      ? [...headers, 'authorization', token.authorization.reveal()]
      : [...headers, route.send.header, valueFor(route.send, token)];
  if (token.dpop === undefined) {
    transmit(withToken);
    return;
  }
  token.dpop
    .prove(method, route.upstream.origin, path)
    .then((proof) => transmit([...withToken, 'dpop', proof]), failed);
}
