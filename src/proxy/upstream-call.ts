import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { CambistError } from '../errors.ts';
import type { SteppedUp } from '../tokens/broker.ts';
import { isSameToken } from '../tokens/issued-token.ts';
import { isExpired } from '../tokens/lifetime.ts';
import { obtainSecret } from '../tokens/route-secret.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import type { RawHandler } from '../transport/http1/upstream-request.ts';
import {
  type DiagnosisOptions,
  expiredTwice,
  explainRefusal,
  explainUnreachable,
  missingScopes,
  signInWanted,
} from './backend-failure.ts';
import { watchUpload } from './body-wait.ts';
import type { ElicitationOptions } from './elicitation.ts';
import type { Rewriter } from './endpoint-event.ts';
import { failRequest } from './fail-request.ts';
import { followUpOf, type Refusal, type StepUp } from './follow-up.ts';
import { headerValues, isChunkedOrPlain, type RawHeaders } from './headers.ts';
import {
  causeOf,
  followSession,
  noteLostSession,
  type ObtainTokenOptions,
  obtainToken,
  timed,
} from './issued-token.ts';
import { asCambistError } from './own-response.ts';
import type { OpenRequests } from './proxy-request.ts';
import { RefusedResponse } from './refused-response.ts';
import { isStreamed } from './request-body.ts';
import { responseHeaders, streamRewriter } from './response-headers.ts';
import { createResponseRelay, type ResponseRelay } from './response-relay.ts';
import { sendAttempt } from './send.ts';
import type { StallWatch } from './stall-watch.ts';
import type { AttemptPlan, Prepared, Switched } from './steps.ts';

/** Limit for reading a response that the caller does not get, which lets its connection be reused. */
const MAX_DISCARDED_BYTES = 64 * 1024;

/** The status for which scopes can be added. */
const FORBIDDEN = 403;

/** The marks of a retry with another token. */
const NEW_TOKEN = { hasNewToken: true, hasNonce: false };

const TOO_LARGE = 'and the request is too large to be sent again';

export interface UpstreamCallOptions extends ObtainTokenOptions, DiagnosisOptions, ElicitationOptions {
  readonly dispatchers: Dispatchers;
  readonly watch: StallWatch;
  /** Undefined without `signals`. */
  readonly openRequests?: OpenRequests | undefined;
}

/**
 * The life of a request after `pipeline.ts`: sends it upstream, and does what `follow-up.ts` decides of the response: relays it,
 * retries, steps up, or fails. Never sends an expired token, or any token after that of the caller was revoked.
 * @param switched given for a WebSocket handshake
 */
export function callUpstream(prepared: Prepared, options: UpstreamCallOptions, switched?: Switched): void {
  const { request, token, body } = prepared;
  if (request.isClosed) return;
  if (isStreamed(body)) watchUpload(request, options.watch);
  const plan = {
    prepared,
    token,
    content: body.content,
    isRetry: false,
    hasNewToken: false,
    hasNonce: false,
    replacesExpired: false,
  };
  new Attempt(plan, options, switched).send();
}

type Controller = Dispatcher.DispatchController;

/** One attempt to send a request. A class, because every request makes one: closures would be allocated for each. */
class Attempt implements RawHandler {
  readonly readsRawHeaders = true;
  readonly #plan: AttemptPlan;
  readonly #options: UpstreamCallOptions;
  readonly #switched: Switched | undefined;
  /** `waiting`: for a step-up that decides whether the caller gets this response. */
  #state: 'relaying' | 'waiting' | 'discarding' = 'relaying';
  #replacesExpired: boolean;
  #abort: (() => void) | undefined;
  #relay: ResponseRelay | undefined;
  #refused: RefusedResponse | undefined;
  #discardedBytes = 0;
  /** Came while waiting. */
  #failure: Error | undefined;
  #isComplete = false;

  constructor(plan: AttemptPlan, options: UpstreamCallOptions, switched: Switched | undefined) {
    this.#plan = plan;
    this.#options = options;
    this.#switched = switched;
    this.#replacesExpired = plan.replacesExpired;
  }

  send(): void {
    const { prepared, token } = this.#plan;
    prepared.request.record.token = token;
    const sending = sendAttempt(this.#plan, this.#switched !== undefined, this.#options.dispatchers, this);
    if (sending !== undefined) sending.catch((error: unknown) => this.#fail(error));
  }

  // Right before the first byte: the caller may have left, and the token may have expired.
  onRequestStart(controller: Controller): void {
    const { request } = this.#plan.prepared;
    const abort = (): void => controller.abort(new Error('the caller left'));
    this.#abort = abort;
    if (request.isClosed) {
      abort();
    } else if (this.#mayStart()) {
      request.abortUpstream = abort;
    } else {
      this.#state = 'discarding';
      controller.abort(new Error('the attempt may not start'));
    }
  }

  /** False where another attempt replaces this one, or the request ended. */
  #mayStart(): boolean {
    const { prepared, token } = this.#plan;
    const { clock, openRequests } = this.#options;
    if (openRequests?.endIfRevoked(prepared.request) === true) return false;
    if (token === undefined || !isExpired(token, clock)) {
      this.#replacesExpired = false;
      return true;
    }
    if (this.#replacesExpired) this.#fail(expiredTwice(prepared.route));
    else void this.#sendWithNewToken({ ...this.#plan, replacesExpired: true });
    return false;
  }

  // A WebSocket: bytes pass from now on.
  onRequestUpgrade(controller: Controller, _status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    const { prepared } = this.#plan;
    prepared.request.abortUpstream = undefined;
    try {
      const toCaller = responseHeaders(rawHeaders(controller), 101, undefined, prepared);
      const isExpected = this.#switched?.(headers.upgrade?.toString(), toCaller, socket);
      if (isExpected === false) this.#fail(new Error('the upstream switched to another protocol'));
    } catch (error) {
      socket.destroy();
      this.#fail(error);
    }
  }

  // Any other response: the decision, then one method for each outcome.
  onResponseStart(controller: Controller, status: number): void {
    const headers = rawHeaders(controller);
    if (!isChunkedOrPlain(headers)) {
      // Only chunked was offered, and the caller would receive the body still encoded.
      controller.abort(new Error('the response has a transfer coding other than chunked'));
      return;
    }
    const next = followUpOf(this.#plan, status, headers, this.#learnNonce(headers));
    if (next.kind === 'relay') this.#relayResponse(controller, status, headers);
    else if (next.kind === 'step_up') this.#stepUp(controller, headers, next);
    else this.#replace(controller, headers, next);
  }

  #learnNonce(headers: RawHeaders): boolean {
    const { token, prepared } = this.#plan;
    if (token?.dpop === undefined) return false;
    return token.dpop.learn(prepared.route.upstream.origin, headerValues(headers, 'dpop-nonce').join());
  }

  /** Relays the response to the caller. */
  #relayResponse(controller: Controller, status: number, received: RawHeaders): void {
    const { prepared, token } = this.#plan;
    const { request } = prepared;
    if (status === 403) request.record.scopesMissing = missingScopes(headerValues(received, 'www-authenticate'), token);
    if (status === 404) noteLostSession(prepared);
    let headers: string[];
    let rewriter: Rewriter | undefined;
    try {
      headers = responseHeaders(received, status, token, prepared);
      const header = (name: string): string | undefined => headerValues(headers, name)[0];
      if (token !== undefined) rewriter = followSession(prepared, token, status, header, this.#options.broker);
      rewriter ??= streamRewriter(prepared, status, headers);
    } catch (error) {
      this.#state = 'discarding';
      this.#fail(error);
      controller.abort(error as Error);
      return;
    }
    const keepsConnection = (): boolean => request.incoming.complete && !request.isLastOfConnection;
    this.#relay = createResponseRelay(controller, status, headers, keepsConnection, rewriter);
    request.relay(this.#relay);
  }

  /** Asks for a token with the scopes that a 403 names. */
  #stepUp(controller: Controller, headers: RawHeaders, { token, scopes, content }: StepUp): void {
    const { request, route, session } = this.#plan.prepared;
    const { broker, clock } = this.#options;
    const pending = broker.stepUp(route, session, token, scopes, () => causeOf(request.record));
    if (pending === undefined) this.#relayResponse(controller, FORBIDDEN, headers);
    else void this.#waitForStepUp(controller, headers, timed(request.record, pending, clock), content);
  }

  /** Holds the 403: no byte of its body arrives between `pause` and `resume`. Then a retry replaces it, or the caller gets it. */
  async #waitForStepUp(
    controller: Controller,
    headers: RawHeaders,
    pending: Promise<SteppedUp>,
    content: Buffer | null,
  ): Promise<void> {
    this.#state = 'waiting';
    controller.pause();
    try {
      // If the exchange fails: the upstream's refusal tells the caller more, and is true in any case.
      const stepped = await pending.catch(() => undefined);
      if (stepped !== undefined) {
        this.#plan.prepared.request.record.stepUp = stepped.added;
        this.#send(this.#retryPlan({ token: stepped.token, content, ...NEW_TOKEN }));
        this.#discard(controller);
      } else {
        this.#state = 'relaying';
        if (this.#failure !== undefined) throw this.#failure;
        this.#relayResponse(controller, FORBIDDEN, headers);
        if (this.#isComplete) this.#endRelay();
      }
      controller.resume();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Drops a 401, and retries or fails. */
  #replace(controller: Controller, headers: RawHeaders, next: Refusal): void {
    this.#discard(controller);
    const refused = new RefusedResponse(next.token, headers);
    this.#refused = refused;
    // The prover knows the nonce by now.
    if (next.kind === 'retry_with_nonce') this.#send(this.#retryPlan({ content: next.content, hasNonce: true }));
    else if (next.kind === 'retry_with_new_token') this.#retryWithNewToken(refused);
    else if (next.kind === 'fail') this.#failRefused(refused, next.ending);
    else if (next.kind === 'sign_in')
      this.#fail(signInWanted(this.#plan.prepared.route, next.authentication, next.token));
    else void this.#retryWithNewSecret(refused);
  }

  #retryWithNewToken(refused: RefusedResponse): void {
    const { route, session, body } = this.#plan.prepared;
    const content = body.replay();
    const isNewTokenWorthwhile = this.#options.broker.refuse(route, session, refused.token);
    if (content === undefined) this.#failRefused(refused, TOO_LARGE);
    else if (!isNewTokenWorthwhile) this.#failRefused(refused, 'as it refused the previous one a moment ago');
    else void this.#sendWithNewToken(this.#retryPlan({ content, ...NEW_TOKEN }));
  }

  /** Reads the file again, which may have a new secret by now. */
  async #retryWithNewSecret(refused: RefusedResponse): Promise<void> {
    const { route, session, body } = this.#plan.prepared;
    try {
      const token = await obtainSecret(route, session, true);
      const content = body.replay();
      if (isSameToken(token, refused.token)) this.#failRefused(refused, 'and its file has no other');
      else if (content === undefined) this.#failRefused(refused, TOO_LARGE);
      else this.#send(this.#retryPlan({ token, content, ...NEW_TOKEN }));
    } catch (error) {
      this.#fail(error);
    }
  }

  async #sendWithNewToken(plan: AttemptPlan): Promise<void> {
    try {
      const token = await obtainToken(plan.prepared, plan.prepared.session, this.#options);
      this.#send({ ...plan, token });
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Counts the retry. */
  #retryPlan(changes: Partial<AttemptPlan>): AttemptPlan {
    this.#options.observer.upstreamRetried(this.#plan.prepared.route, 'token');
    return { ...this.#plan, isRetry: true, replacesExpired: false, ...changes };
  }

  #send(plan: AttemptPlan): void {
    new Attempt(plan, this.#options, this.#switched).send();
  }

  /** Responds with the reason for which the backend refused the token, as soon as it is read. */
  #failRefused(refused: RefusedResponse, ending: string): void {
    const { route } = this.#plan.prepared;
    void explainRefusal(route, ending, refused, this.#options).then((error) => this.#fail(error));
  }

  #fail(error: unknown): void {
    const { request, route } = this.#plan.prepared;
    if (error instanceof CambistError) failRequest(request, error, this.#options);
    else void explainUnreachable(error as Error, route, this.#options).then((told) => failRequest(request, told));
  }

  // The body, and the end of the response.
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
    const { request } = this.#plan.prepared;
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
    if (this.#relay === undefined) this.#fail(error);
    else this.#relay.fail();
  }

  #discard(controller: Controller): void {
    this.#state = 'discarding';
    // The next attempt takes over `abortUpstream`, and this response may never end.
    this.#plan.prepared.request.onClosed(() => controller.abort(new Error('the request is complete')));
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
    const { record } = this.#plan.prepared.request;
    record.error = asCambistError(error);
    record.abortedBy = 'cross_route';
    this.#relay?.fail();
  }
}

function rawHeaders({ rawHeaders: raw }: Controller): RawHeaders {
  return (raw ?? []) as string[];
}
