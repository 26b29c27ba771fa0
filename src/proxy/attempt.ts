import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { RawHandler } from '../transport/http1/upstream-request.ts';
import { asksForNonce } from './challenges.ts';
import type { Rewriter } from './endpoint-event.ts';
import { headerValues, isChunkedOrPlain, type RawHeaders } from './headers.ts';
import { noteLostSession } from './issued-token.ts';
import { RefusedResponse } from './refused-response.ts';
import { responseHeaders, streamRewriter } from './response-headers.ts';
import { createResponseRelay, type ResponseRelay } from './response-relay.ts';
import type { AttemptPlan } from './send.ts';
import type { Admitted, Switched } from './steps.ts';
import { missingScopes } from './upstream-error.ts';

/** Limit for reading the response to a refused token, which lets its connection be reused. */
const MAX_DISCARDED_BYTES = 64 * 1024;

type Controller = Dispatcher.DispatchController;

/** The request that an attempt is made for. It decides what follows a response. */
export interface AttemptOwner {
  readonly admitted: Admitted;
  readonly switched: Switched | undefined;
  /** Asked right before the first byte is sent. @returns false where another attempt replaces this one, or the request ended */
  mayStart(plan: AttemptPlan): boolean;
  /**
   * Follows a 401, whose response is dropped.
   * @param wantsNonce the proof was refused, not the token: it lacked the nonce of this response
   */
  unauthorized(plan: AttemptPlan, wantsNonce: boolean, refused: RefusedResponse): void;
  /**
   * Follows a 403 that asks for scopes, whose response waits.
   * @returns undefined where the response goes to the caller; otherwise whether a retry replaces it
   */
  stepUp(headers: RawHeaders): Promise<boolean> | undefined;
  followSession(status: number, header: (name: string) => string | undefined): Rewriter | undefined;
  fail(error: unknown): void;
}

/** Handles the response to one attempt: relays it, or leaves it to the call whether another attempt replaces it. */
export class Attempt implements RawHandler {
  readonly readsRawHeaders = true;
  readonly #call: AttemptOwner;
  readonly #plan: AttemptPlan;
  #relay: ResponseRelay | undefined;
  /** `waiting`: for a step-up that decides whether the caller gets this response. */
  #state: 'relaying' | 'waiting' | 'discarding' = 'relaying';
  #discardedBytes = 0;
  #refused: RefusedResponse | undefined;
  #abort: (() => void) | undefined;
  /** Came while waiting. */
  #failure: Error | undefined;
  #isComplete = false;

  constructor(call: AttemptOwner, plan: AttemptPlan) {
    this.#call = call;
    this.#plan = plan;
  }

  onRequestStart(controller: Controller): void {
    const { request } = this.#call.admitted;
    const abort = (): void => controller.abort(new Error('the caller left'));
    this.#abort = abort;
    if (request.isClosed) {
      abort();
    } else if (this.#call.mayStart(this.#plan)) {
      request.abortUpstream = abort;
    } else {
      this.#state = 'discarding';
      controller.abort(new Error('the attempt may not start'));
    }
  }

  onRequestUpgrade(controller: Controller, _status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    this.#call.admitted.request.abortUpstream = undefined;
    try {
      const toCaller = responseHeaders(rawHeaders(controller), 101, undefined, this.#call.admitted);
      const isExpected = this.#call.switched?.(headers.upgrade?.toString(), toCaller, socket);
      if (isExpected === false) this.#call.fail(new Error('the upstream switched to another protocol'));
    } catch (error) {
      socket.destroy();
      this.#call.fail(error);
    }
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
      this.#refused = new RefusedResponse(token, headers);
      const wantsNonce = hasNonce && asksForNonce(headerValues(headers, 'www-authenticate'));
      this.#call.unauthorized(this.#plan, wantsNonce, this.#refused);
      return;
    }
    const pending = status === 403 && !hasNewToken ? this.#call.stepUp(headers) : undefined;
    if (pending === undefined) this.#begin(controller, status);
    else void this.#wait(controller, status, pending);
  }

  onResponseData(controller: Controller, chunk: Buffer): void {
    if (this.#state === 'relaying') {
      try {
        this.#relay?.data(chunk);
      } catch (error) {
        this.#breakOff(error as Error);
        controller.abort(error as Error);
      }
      return;
    }
    this.#refused?.data(chunk);
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
    this.#refused?.end();
    this.#endRelay();
  }

  onResponseError(_controller: Controller, error: Error): void {
    if (this.#state === 'waiting') this.#failure = error;
    this.#refused?.end();
    if (this.#state !== 'relaying') return;
    if (this.#relay === undefined) this.#call.fail(error);
    else this.#relay.fail();
  }

  #begin(controller: Controller, status: number): void {
    const { admitted } = this.#call;
    const { request } = admitted;
    if (status === 403) this.#noteMissingScopes(rawHeaders(controller));
    if (status === 404) noteLostSession(admitted);
    let headers: string[];
    let rewriter: Rewriter | undefined;
    try {
      headers = responseHeaders(rawHeaders(controller), status, this.#plan.token, admitted);
      const header = (name: string): string | undefined => headerValues(headers, name)[0];
      rewriter = this.#call.followSession(status, header) ?? streamRewriter(admitted, status, headers);
    } catch (error) {
      this.#state = 'discarding';
      this.#call.fail(error);
      controller.abort(error as Error);
      return;
    }
    const keepsConnection = (): boolean => request.incoming.complete && !request.isLastOfConnection;
    this.#relay = createResponseRelay(controller, status, headers, keepsConnection, rewriter);
    request.relay(this.#relay);
  }

  #endRelay(): void {
    try {
      this.#relay?.end();
    } catch (error) {
      this.#breakOff(error as Error);
    }
  }

  /** Ends a response whose body must not reach the caller. */
  #breakOff(error: Error): void {
    this.#call.admitted.request.breakOff(error);
    this.#relay?.fail();
  }

  #noteMissingScopes(headers: RawHeaders): void {
    const missing = missingScopes(headerValues(headers, 'www-authenticate'), this.#plan.token);
    if (missing !== undefined) this.#call.admitted.request.lacksScopes(missing);
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
        if (this.#isComplete) this.#endRelay();
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
