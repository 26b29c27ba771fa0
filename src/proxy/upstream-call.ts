import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { CambistError } from '../errors.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { isExpired } from '../tokens/lifetime.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import type { RawHandler } from '../transport/http1/upstream-request.ts';
import { asksForNonce, insufficientScope } from './challenges.ts';
import type { Rewriter } from './endpoint-event.ts';
import { headerValues, isChunkedOrPlain, type RawHeaders } from './headers.ts';
import { causeOf, followSession, type ObtainTokenOptions, obtainToken, timed } from './issued-token.ts';
import { callerHeaders, responseHeaders, streamRewriter } from './response-headers.ts';
import { createResponseRelay, type ResponseRelay } from './response-relay.ts';
import { type AttemptPlan, sendAttempt } from './send.ts';
import type { Admitted, Switched } from './steps.ts';
import { expiredTwice, refusedToken, upstreamError } from './upstream-error.ts';

export interface UpstreamCallOptions extends ObtainTokenOptions {
  readonly dispatchers: Dispatchers;
  readonly observer: ProxyObserver;
}

/** Limit for reading the response to a refused token, which lets its connection be reused. */
const MAX_DISCARDED_BYTES = 64 * 1024;

type Controller = Dispatcher.DispatchController;

/**
 * Sends an admitted request upstream and relays the response. Retries once with another token after a 401, once with a
 * nonce that a DPoP proof lacked, and once with more scopes after a 403 that asks for them. Never sends an expired token.
 * @param switched given for a WebSocket handshake
 */
export function callUpstream(admitted: Admitted, options: UpstreamCallOptions, switched?: Switched): void {
  const { token, body } = admitted;
  const first = { token, content: body.content, isRetry: false, hasNewToken: false, hasNonce: false };
  new UpstreamCall(admitted, options, switched).attempt(first);
}

/** All attempts of one request. A class, because every request makes one: closures would be allocated for each. */
class UpstreamCall {
  readonly admitted: Admitted;
  readonly switched: Switched | undefined;
  readonly #options: UpstreamCallOptions;
  #token: IssuedToken | undefined;
  /** A token expired before the first byte of its attempt was sent. */
  #hasExpired = false;

  constructor(admitted: Admitted, options: UpstreamCallOptions, switched: Switched | undefined) {
    this.admitted = admitted;
    this.switched = switched;
    this.#options = options;
    this.#token = admitted.token;
  }

  attempt(plan: AttemptPlan): void {
    this.#token = plan.token;
    const isWebSocket = this.switched !== undefined;
    const failed = (error: unknown): void => this.fail(error);
    sendAttempt(this.admitted, plan, isWebSocket, this.#options.dispatchers, new Attempt(this, plan), failed);
  }

  /** Asked right before the first byte is sent. @returns false where another attempt replaces this one */
  mayStart(plan: AttemptPlan): boolean {
    const { route } = this.admitted;
    if (this.#token === undefined || !isExpired(this.#token, this.#options.clock)) {
      this.#hasExpired = false;
      return true;
    }
    if (this.#hasExpired) {
      this.fail(expiredTwice(route));
      return false;
    }
    this.#hasExpired = true;
    void this.#attemptWithNewToken(plan);
    return false;
  }

  /** The upstream said that it did not process the attempt, which is sent again as it is (RFC 9113 section 8.7). */
  resent(): void {
    this.#options.observer.upstreamRetried(this.admitted.route, 'unprocessed');
  }

  /**
   * Follows a 401, whose response is dropped.
   * @param wantsNonce the proof was refused, not the token: it lacked the nonce of this response
   */
  unauthorized(plan: AttemptPlan, wantsNonce: boolean): void {
    if (wantsNonce && !plan.hasNonce) this.#retryWithNonce(plan);
    else if (plan.hasNewToken) this.fail(refusedToken(this.admitted.route, 'and the next one as well'));
    else this.#retryWithNewToken();
  }

  /** Retries with the same token. The prover knows the nonce by now. */
  #retryWithNonce(plan: AttemptPlan): void {
    const { route, body } = this.admitted;
    const content = body.replay();
    if (content === undefined) {
      this.fail(refusedToken(route, 'because its proof lacked a nonce, and the request is too large to be sent again'));
      return;
    }
    this.#options.observer.upstreamRetried(route, 'token');
    this.attempt({ ...plan, content, isRetry: true, hasNonce: true });
  }

  #retryWithNewToken(): void {
    const { route, session, body } = this.admitted;
    if (this.#token === undefined) return;
    const content = body.replay();
    const isNewTokenWorthwhile = this.#options.broker.refuse(route, session, this.#token);
    if (content === undefined) {
      this.fail(refusedToken(route, 'and the request is too large to be sent again'));
    } else if (!isNewTokenWorthwhile) {
      this.fail(refusedToken(route, 'as it refused the previous one a moment ago'));
    } else {
      this.#options.observer.upstreamRetried(route, 'token');
      const plan = { token: undefined, content, isRetry: true, hasNewToken: true, hasNonce: false };
      void this.#attemptWithNewToken(plan);
    }
  }

  async #attemptWithNewToken(plan: AttemptPlan): Promise<void> {
    try {
      const token = await obtainToken(this.admitted, this.admitted.session, this.#options);
      this.attempt({ ...plan, token });
    } catch (error) {
      this.fail(error);
    }
  }

  /**
   * Follows a 403 that asks for scopes, whose response waits.
   * @returns undefined where the response goes to the caller; otherwise whether a retry replaces it
   */
  stepUp(headers: RawHeaders): Promise<boolean> | undefined {
    const { request, route, session, body } = this.admitted;
    const { broker, clock, observer } = this.#options;
    if (this.#token === undefined || route.stepUp.length === 0) return undefined;
    const scopes = insufficientScope(headerValues(headers, 'www-authenticate'));
    const content = scopes && body.replay();
    if (scopes === undefined || content === undefined) return undefined;
    const pending = broker.stepUp(route, session, this.#token, scopes, () => causeOf(request));
    return (
      pending &&
      timed(request, pending, clock).then(
        ({ token, added }) => {
          request.steppedUp(added);
          observer.upstreamRetried(route, 'token');
          this.attempt({ token, content, isRetry: true, hasNewToken: true, hasNonce: false });
          return true;
        },
        // The upstream's refusal tells the caller more, and is true whatever became of the exchange.
        () => false,
      )
    );
  }

  followSession(status: number, header: (name: string) => string | undefined): Rewriter | undefined {
    if (this.#token === undefined) return undefined;
    return followSession(this.admitted, this.#token, status, header, this.#options.broker);
  }

  fail(error: unknown): void {
    const { request, route, body } = this.admitted;
    request.fail(error instanceof CambistError ? error : upstreamError(error as Error, route.name), body);
  }
}

/** Handles the response to one attempt: relays it, or leaves it to the call whether another attempt replaces it. */
class Attempt implements RawHandler {
  readonly readsRawHeaders = true;
  readonly #call: UpstreamCall;
  readonly #plan: AttemptPlan;
  #relay: ResponseRelay | undefined;
  /** `waiting`: for a step-up that decides whether the caller gets this response. */
  #state: 'relaying' | 'waiting' | 'discarding' = 'relaying';
  #discardedBytes = 0;
  #abort: (() => void) | undefined;
  /** Came while waiting. */
  #failure: Error | undefined;
  #isComplete = false;

  constructor(call: UpstreamCall, plan: AttemptPlan) {
    this.#call = call;
    this.#plan = plan;
  }

  onRequestStart(controller: Controller): void {
    const { request } = this.#call.admitted;
    const isResent = this.#abort !== undefined;
    const abort = (): void => controller.abort(new Error('the caller left'));
    this.#abort = abort;
    if (request.isClosed) {
      abort();
    } else if (this.#call.mayStart(this.#plan)) {
      request.abortUpstream = abort;
      if (isResent) this.#call.resent();
    } else {
      this.#state = 'discarding';
      controller.abort(new Error('the token has expired'));
    }
  }

  onRequestUpgrade(controller: Controller, _status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    this.#call.admitted.request.abortUpstream = undefined;
    const isExpected = this.#call.switched?.(
      headers.upgrade?.toString(),
      callerHeaders(rawHeaders(controller)),
      socket,
    );
    if (isExpected === false) this.#call.fail(new Error('the upstream switched to another protocol'));
  }

  onResponseStart(controller: Controller, status: number): void {
    const headers = rawHeaders(controller);
    if (!isChunkedOrPlain(headers)) {
      // Only chunked was offered, and the caller would receive the body still encoded.
      controller.abort(new Error('the response has a transfer coding other than chunked'));
      return;
    }
    const { token, hasNewToken } = this.#plan;
    const hasNonce = token?.dpop !== undefined && this.#learnNonce(token, headers);
    if (status === 401 && token !== undefined) {
      this.#discard(controller);
      this.#call.unauthorized(this.#plan, hasNonce && asksForNonce(headerValues(headers, 'www-authenticate')));
      return;
    }
    const pending = status === 403 && !hasNewToken ? this.#call.stepUp(headers) : undefined;
    if (pending === undefined) this.#begin(controller, status);
    else void this.#wait(controller, status, pending);
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#state === 'relaying') {
      this.#relay?.data(chunk);
      return;
    }
    this.#discardedBytes += chunk.length;
    if (this.#discardedBytes > MAX_DISCARDED_BYTES) {
      controller.abort(new Error('the response to a refused request is too long'));
    }
  }

  onResponseEnd(): void {
    const { request } = this.#call.admitted;
    if (this.#state === 'waiting') this.#isComplete = true;
    // Nothing is left to abort. Making an error for it would cost more than admitting the request.
    if (request.abortUpstream === this.#abort) request.abortUpstream = undefined;
    this.#relay?.end();
  }

  onResponseError(_controller: Controller, error: Error): void {
    if (this.#state === 'waiting') this.#failure = error;
    if (this.#state !== 'relaying') return;
    if (this.#relay === undefined) this.#call.fail(error);
    else this.#relay.fail();
  }

  #begin(controller: Controller, status: number): void {
    const { admitted } = this.#call;
    const headers = responseHeaders(rawHeaders(controller), status, this.#plan.token, admitted);
    const header = (name: string): string | undefined => headerValues(headers, name)[0];
    const rewriter = this.#call.followSession(status, header) ?? streamRewriter(admitted, status, header);
    const { incoming } = admitted.request;
    this.#relay = createResponseRelay(controller, status, headers, () => incoming.complete, rewriter);
    admitted.request.relay(this.#relay);
  }

  #learnNonce(token: IssuedToken, headers: RawHeaders): boolean {
    const { origin } = this.#call.admitted.route.upstream;
    return token.dpop?.learn(origin, headerValues(headers, 'dpop-nonce').join()) ?? false;
  }

  #discard(controller: Controller): void {
    this.#state = 'discarding';
    // The next attempt takes over `abortUpstream`, and this response may never end.
    this.#call.admitted.request.onClosed(() => controller.abort(new Error('the request is complete')));
  }

  async #wait(controller: Controller, status: number, pending: Promise<boolean>): Promise<void> {
    this.#state = 'waiting';
    controller.pause();
    try {
      if (await pending) {
        this.#discard(controller);
      } else {
        this.#state = 'relaying';
        if (this.#failure !== undefined) throw this.#failure;
        this.#begin(controller, status);
        if (this.#isComplete) this.#relay?.end();
      }
      controller.resume();
    } catch (error) {
      this.#call.fail(error);
    }
  }
}

function rawHeaders({ rawHeaders: raw }: Controller): RawHeaders {
  return (raw ?? []) as string[];
}
