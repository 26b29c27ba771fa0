import type { Dispatcher } from 'undici';
import type { Route } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { RetryReason } from '../observability/proxy-observer.ts';
import { type Dispatchers, upstreamPeer } from '../transport/dispatchers.ts';
import { type Answered, Attempt, type AttemptEvents, type Switched, type Trial } from './attempt.ts';
import type { Passage, UpstreamLeg } from './passage.ts';
import { upstreamError } from './upstream-error.ts';
import { traced } from './upstream-span.ts';

/** A request on its way upstream, and who is told what becomes of it. */
export interface Sending {
  readonly passage: Passage;
  readonly leg: UpstreamLeg;
  readonly route: Route;
  readonly dispatchers: Dispatchers;
  /** Is told as the request is sent again. */
  readonly onRetry: (reason: RetryReason) => void;
  readonly answered: Answered;
  /** Undefined: the request is no WebSocket handshake. */
  readonly switched: Switched | undefined;
}

/**
 * Sends a request upstream with the scoped bearer, and once more with another where the upstream refuses the first, or wants
 * a scope that the route may add. Whatever it waits for on the way there, no token goes out whose end has passed.
 */
export function dispatch(sending: Sending): void {
  const { bearer, body } = sending.leg;
  new Attempts(sending).make({ token: bearer?.token, content: body.content, isFirst: true, hasNonce: false });
}

/** All attempts of one request. A class, as there is one for each request, and functions would be made for each. */
class Attempts implements AttemptEvents {
  readonly #sending: Sending;
  readonly answered: Answered;
  readonly switched: Switched | undefined;
  /** The token of an attempt ended before its first byte went out. */
  #isLate = false;

  constructor(sending: Sending) {
    this.#sending = sending;
    this.answered = sending.answered;
    this.switched = sending.switched;
  }

  make(trial: Trial): void {
    const { passage, leg, route } = this.#sending;
    const { token } = trial;
    const headers = token === undefined ? leg.headers : [...leg.headers, 'authorization', token.authorization.reveal()];
    if (token?.dpop === undefined) {
      this.#transmit(trial, headers);
      return;
    }
    token.dpop.prove(passage.request.method ?? '', route.upstream.origin, leg.path).then(
      (proof) => this.#transmit(trial, [...headers, 'dpop', proof]),
      (error: unknown) => this.#fail(error),
    );
  }

  #transmit(trial: Trial, headers: readonly string[]): void {
    const { passage, leg, route } = this.#sending;
    const options = {
      origin: route.upstream.origin,
      path: leg.path,
      method: passage.request.method as Dispatcher.HttpMethod,
      headers: (route.http2 ? lowerCased(headers) : headers) as string[],
      body: trial.content as Dispatcher.DispatchOptions['body'] & {},
      headersTimeout: route.timeouts.responseHeadersMs,
      ...(this.switched !== undefined && { upgrade: 'websocket' }),
    };
    const attempt = new Attempt(passage, route, trial, this);
    if (passage.span === undefined) {
      this.#onPool(options, attempt);
      return;
    }
    const isResent = !trial.isFirst || trial.hasNonce;
    const spanned = traced(passage.span, route, options.method, isResent, options.headers, attempt);
    this.#onPool({ ...options, headers: spanned.headers as string[] }, spanned.handler);
  }

  /** Each attempt asks for the pool: where TLS files have changed, that of the one before takes no more. */
  #onPool(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): void {
    const { route, dispatchers } = this.#sending;
    const pool = dispatchers.for(upstreamPeer(route, this.switched !== undefined));
    if (!(pool instanceof Promise)) pool.dispatch(options, handler);
    else pool.then((ready) => ready.dispatch(options, handler)).catch((error: unknown) => this.#fail(error));
  }

  mayStart(trial: Trial): boolean {
    const { route, leg } = this.#sending;
    if (leg.bearer?.hasEnded() !== true) {
      this.#isLate = false;
      return true;
    }
    if (this.#isLate) {
      this.answered(endedTwice(route));
      return false;
    }
    this.#isLate = true;
    leg.bearer.replace().then(
      (token) => this.make({ ...trial, token }),
      (error: unknown) => this.#fail(error),
    );
    return false;
  }

  resent(): void {
    this.#sending.onRetry('unprocessed');
  }

  learnNonce({ token }: Trial, nonce: string | undefined): boolean {
    return token?.dpop?.learn(this.#sending.route.upstream.origin, nonce) ?? false;
  }

  refused(trial: Trial, wantsNonce: boolean): void {
    if (wantsNonce && !trial.hasNonce) this.#sendWithNonce(trial);
    else if (trial.isFirst) this.#renew();
    else this.answered(refusedToken(this.#sending.route, 'and the next one too'));
  }

  /** The token stays: it was its proof that lacked the nonce, which is known from now on. */
  #sendWithNonce(trial: Trial): void {
    const { route, leg, onRetry } = this.#sending;
    const content = leg.body.replay();
    if (content === undefined) {
      this.answered(
        refusedToken(route, 'since its proof lacked a nonce, and its request is too large to be sent again'),
      );
      return;
    }
    onRetry('token');
    this.make({ ...trial, content, hasNonce: true });
  }

  #renew(): void {
    const { route, leg, onRetry } = this.#sending;
    const { bearer, body } = leg;
    if (bearer === undefined) return;
    const content = body.replay();
    if (content === undefined) {
      bearer.refuse();
      this.answered(refusedToken(route, 'and its request is too large to be sent again'));
      return;
    }
    const renewing = bearer.renew();
    if (renewing === undefined) {
      this.answered(refusedToken(route, 'as it did a moment ago'));
      return;
    }
    onRetry('token');
    renewing.then(
      (token) => this.make({ token, content, isFirst: false, hasNonce: false }),
      (error: unknown) => this.#fail(error),
    );
  }

  insufficientScope(scopes: readonly string[]): Promise<boolean> | undefined {
    const { leg, onRetry } = this.#sending;
    const content = leg.body.replay();
    if (content === undefined) return undefined;
    return leg.bearer?.stepUp(scopes)?.then(
      (token) => {
        onRetry('token');
        this.make({ token, content, isFirst: false, hasNonce: false });
        return true;
      },
      // The refusal of the upstream says more to the caller, and is true whatever became of the exchange.
      () => false,
    );
  }

  #fail(error: unknown): void {
    const { route } = this.#sending;
    this.answered(error instanceof CambistError ? error : upstreamError(error as Error, route.name));
  }
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
