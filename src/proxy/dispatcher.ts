import type { Dispatcher } from 'undici';
import type { Route } from '../config/config.ts';
import { type Dispatchers, upstreamPeer } from '../dispatchers.ts';
import { CambistError } from '../errors.ts';
import type { IssuedToken } from '../tokens/issued.ts';
import { type Answered, attemptHandler, type Switched } from './attempt.ts';
import type { Passage, UpstreamLeg } from './passage.ts';
import { upstreamError } from './upstream-error.ts';
import { traced } from './upstream-span.ts';

/** A request on its way upstream, and who is told what becomes of it. */
export interface Sending {
  readonly passage: Passage;
  readonly leg: UpstreamLeg;
  readonly route: Route;
  readonly dispatchers: Dispatchers;
  /** Is told of each second attempt. */
  readonly onRetry: () => void;
  readonly answered: Answered;
  /** Undefined: the request is no WebSocket handshake. */
  readonly switched: Switched | undefined;
}

/**
 * Sends a request upstream with the scoped bearer, and once more with another where the upstream refuses the first, or wants
 * a scope that the route may add. Whatever it waits for on the way there, no token goes out whose end has passed.
 */
export function dispatch(sending: Sending): void {
  const { passage, leg, route, dispatchers, onRetry, answered, switched } = sending;
  const { bearer, body } = leg;
  const { origin } = route.upstream;
  const method = passage.request.method as Dispatcher.HttpMethod;
  const peer = upstreamPeer(route, switched !== undefined);

  /** Each attempt asks for the pool: where TLS files have changed, that of the one before takes no more. */
  const onPool = (work: (pool: Dispatcher) => void): void => {
    const pool = dispatchers.for(peer);
    if (pool instanceof Promise) pool.then(work).catch((error: unknown) => answered(asFailure(error, route)));
    else work(pool);
  };

  /** The token of an attempt ended before its first byte went out. */
  let late = false;

  const send = (token: IssuedToken | undefined, content: Content, first: boolean, hasNonce = false): void => {
    const headers = token === undefined ? leg.headers : [...leg.headers, 'authorization', token.authorization.reveal()];
    if (token?.dpop === undefined) {
      transmit(token, headers, content, first, hasNonce);
      return;
    }
    token.dpop.prove(method, origin, leg.path).then(
      (proof) => transmit(token, [...headers, 'dpop', proof], content, first, hasNonce),
      (error: unknown) => answered(asFailure(error, route)),
    );
  };

  const transmit = (
    token: IssuedToken | undefined,
    headers: readonly string[],
    content: Content,
    first: boolean,
    hasNonce: boolean,
  ): void => {
    const options = {
      origin,
      path: leg.path,
      method,
      headers: (route.http2 ? lowerCased(headers) : headers) as string[],
      body: content as Dispatcher.DispatchOptions['body'] & {},
      headersTimeout: route.timeouts.responseHeadersMs,
      ...(switched !== undefined && { upgrade: 'websocket' }),
    };
    const onRefused = (wantsNonce: boolean): void => {
      if (wantsNonce && !hasNonce) sendWithNonce(token, first);
      else if (first) renew();
      else answered(refusedToken(route, 'and the next one too'));
    };
    const mayStart = (): boolean => {
      if (bearer?.hasEnded() !== true) {
        late = false;
        return true;
      }
      if (late) answered(endedTwice(route));
      else {
        late = true;
        bearer.replace().then(
          (next) => send(next, content, first, hasNonce),
          (error: unknown) => answered(asFailure(error, route)),
        );
      }
      return false;
    };
    const events = {
      mayStart,
      answered,
      switched,
      onRefused: token === undefined ? undefined : onRefused,
      onNonce: token?.dpop && ((nonce: string | undefined) => token.dpop?.learn(origin, nonce) ?? false),
      onInsufficientScope: first && route.stepUp.length > 0 ? stepUp : undefined,
    };
    const handler = attemptHandler(passage, route, events);
    if (passage.span === undefined) {
      onPool((pool) => pool.dispatch(options, handler));
      return;
    }
    const spanned = traced(passage.span, route, method, !first || hasNonce, options.headers, handler);
    onPool((pool) => pool.dispatch({ ...options, headers: spanned.headers as string[] }, spanned.handler));
  };

  /** The token stays: it was its proof that lacked the nonce, which is known from now on. */
  const sendWithNonce = (token: IssuedToken | undefined, first: boolean): void => {
    const content = body.replay();
    if (content === undefined) {
      answered(refusedToken(route, 'since its proof lacked a nonce, and its request is too large to be sent again'));
    } else {
      onRetry();
      send(token, content, first, true);
    }
  };

  const renew = (): void => {
    const content = body.replay();
    if (bearer === undefined) return;
    if (content === undefined) {
      bearer.refuse();
      answered(refusedToken(route, 'and its request is too large to be sent again'));
      return;
    }
    const renewing = bearer.renew();
    if (renewing === undefined) {
      answered(refusedToken(route, 'as it did a moment ago'));
      return;
    }
    onRetry();
    renewing.then(
      (token) => send(token, content, false),
      (error: unknown) => answered(asFailure(error, route)),
    );
  };

  const stepUp = (scopes: readonly string[]): Promise<boolean> | undefined => {
    const content = body.replay();
    return content === undefined
      ? undefined
      : bearer?.stepUp(scopes)?.then(
          (token) => {
            onRetry();
            send(token, content, false);
            return true;
          },
          // The refusal of the upstream says more to the caller, and is true whatever became of the exchange.
          () => false,
        );
  };

  send(bearer?.token, body.content, true);
}

type Content = UpstreamLeg['body']['content'];

function asFailure(error: unknown, route: Route): CambistError {
  return error instanceof CambistError ? error : upstreamError(error as Error, route.name);
}

/** HTTP/2 has no other names, and would take two cases of one for two fields where only one may be. */
function lowerCased(headers: readonly string[]): string[] {
  return headers.map((text, index) => (index % 2 === 0 ? text.toLowerCase() : text));
}

function endedTwice(route: Route): CambistError {
  return new CambistError(
    'ERR_UPSTREAM_UNREACHABLE',
    `route "${route.name}": connecting to the upstream took longer than a token lives, twice: see why it takes so long`,
  );
}

function refusedToken(route: Route, more: string): CambistError {
  return new CambistError(
    'ERR_UPSTREAM_REFUSED_TOKEN',
    `route "${route.name}": the upstream refused a token that was issued for it, ${more}: see which issuer, audience and ` +
      'scope it wants',
  );
}
