import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';
import { CambistError } from '../errors.ts';
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
  RefusedResponse,
  signInWanted,
} from './backend-failure.ts';
import { watchUpload } from './body-wait.ts';
import type { Rewriter } from './endpoint-event.ts';
import { failRequest } from './fail-request.ts';
import { type After401, followUpOf, type StepUp } from './follow-up.ts';
import { headerValues, isChunkedOrPlain, type RawHeaders } from './headers.ts';
import { followSession, noteLostSession } from './mcp-session.ts';
import { type ObtainTokenOptions, obtainScopes, obtainToken } from './obtain-token.ts';
import { asCambistError } from './own-response.ts';
import { isStreamed } from './request-body.ts';
import { responseHeaders, streamRewriter } from './response-headers.ts';
import { createResponseRelay, type ResponseRelay } from './response-relay.ts';
import { sendAttempt } from './send.ts';
import type { StallWatch } from './stall-watch.ts';
import type { AttemptPlan, Prepared, Switched } from './steps.ts';

/** Limit for reading a response that the caller does not get, which lets its connection be reused. */
const MAX_DISCARDED_BYTES = 64 * 1024;

/** The marks of a retry with the second token. */
const SECOND_TOKEN = { hasSecondToken: true, hasNonce: false };

const BODY_NOT_KEPT = 'and the request cannot be sent again';

export interface UpstreamCallOptions extends ObtainTokenOptions, DiagnosisOptions {
  readonly dispatchers: Dispatchers;
  readonly watch: StallWatch;
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
  new Attempt({ prepared, token, content: body.content }, options, switched).send();
}

type Controller = Dispatcher.DispatchController;

/** One attempt to send a request. A class, because every request makes one: closures would be allocated for each. */
class Attempt implements RawHandler {
  readonly readsRawHeaders = true;
  readonly #plan: AttemptPlan;
  readonly #options: UpstreamCallOptions;
  readonly #switched: Switched | undefined;
  /** It is `relaying` also before the response begins, and `waiting` while a step-up decides whether the caller gets this response. */
  #state: 'relaying' | 'waiting' | 'discarding' = 'relaying';
  #replacesExpired: boolean | undefined;
  #abort: (() => void) | undefined;
  #relay: ResponseRelay | undefined;
  #refused: RefusedResponse | undefined;
  #discardedBytes = 0;
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
    if (sending !== undefined) this.#failIfRejected(sending);
  }

  // Called right before the first byte. The caller may have left meanwhile, and a token may be expired or revoked.
  onRequestStart(controller: Controller): void {
    const { prepared, token } = this.#plan;
    const { request, route } = prepared;
    this.#abort = () => controller.abort(new Error('the caller left'));
    const isOver = request.isClosed || request.endIfRevoked();
    if (!isOver && (token === undefined || !isExpired(token, this.#options.clock))) {
      request.abortUpstream = this.#abort;
      this.#replacesExpired = false;
      return;
    }
    this.#state = 'discarding';
    controller.abort(new Error('the attempt may not start'));
    if (isOver) return;
    if (this.#replacesExpired) this.#fail(expiredTwice(route));
    else this.#failIfRejected(this.#sendWithNewToken({ ...this.#plan, replacesExpired: true }));
  }

  // A WebSocket: bytes pass from now on.
  onRequestUpgrade(controller: Controller, _status: number, headers: IncomingHttpHeaders, socket: Duplex): void {
    const { prepared } = this.#plan;
    prepared.request.abortUpstream = undefined;
    try {
      const toCaller = responseHeaders(controller.rawHeaders as string[], 101, undefined, prepared);
      const isExpected = this.#switched?.(headers.upgrade?.toString(), toCaller, socket);
      if (isExpected === false) this.#fail(new Error('the upstream switched to another protocol'));
    } catch (error) {
      socket.destroy();
      this.#fail(error);
    }
  }

  // Any other response: the decision, then one method for each outcome.
  onResponseStart(controller: Controller, status: number): void {
    const headers = controller.rawHeaders as string[];
    if (!isChunkedOrPlain(headers)) {
      // Only chunked was offered, and the caller would receive the body still encoded.
      controller.abort(new Error('the response has a transfer coding other than chunked'));
      return;
    }
    const { token, prepared } = this.#plan;
    const hasFreshNonce = token?.dpop?.learn(
      prepared.route.upstream.origin,
      headerValues(headers, 'dpop-nonce').join(),
    );
    const next = followUpOf(this.#plan, status, headers, hasFreshNonce === true);
    if (next.kind === 'relay') this.#relayResponse(controller, status, headers);
    else if (next.kind === 'step_up') this.#failIfRejected(this.#stepUp(controller, headers, next));
    else this.#failIfRejected(this.#after401(controller, headers, next));
  }

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
      if (token !== undefined) followSession(prepared, token, status, header, this.#options.broker);
      rewriter = streamRewriter(prepared, status, headers);
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

  /** Holds a 403 while a token with the scopes that it names is requested. Then a retry replaces it, or the caller gets it. */
  async #stepUp(controller: Controller, headers: RawHeaders, { token, scopes, content }: StepUp): Promise<void> {
    const pending = obtainScopes(this.#plan.prepared, token, scopes, this.#options);
    if (pending === undefined) return this.#relayResponse(controller, 403, headers);
    this.#state = 'waiting';
    // No byte of its body arrives before `resume`.
    controller.pause();
    // If the exchange fails, the caller gets the upstream's refusal, which says more than an error of the exchange.
    const stepped = await pending.catch(() => undefined);
    if (stepped !== undefined) {
      this.#plan.prepared.request.record.stepUp = stepped.added;
      this.#send(this.#planRetry({ token: stepped.token, content, ...SECOND_TOKEN }));
      this.#discard(controller);
    } else {
      this.#state = 'relaying';
      if (this.#failure !== undefined) throw this.#failure;
      this.#relayResponse(controller, 403, headers);
      if (this.#isComplete) this.#endRelay();
    }
    controller.resume();
  }

  /** Drops a 401 to a token, and retries or fails. */
  async #after401(controller: Controller, headers: RawHeaders, next: After401): Promise<void> {
    const { route, session, body } = this.#plan.prepared;
    this.#discard(controller);
    const refused = new RefusedResponse(next.token, headers);
    this.#refused = refused;
    const explained = (ending: string) => explainRefusal(route, ending, refused, this.#options);
    switch (next.kind) {
      case 'retry_with_nonce':
        // The prover knows the nonce by now.
        return this.#send(this.#planRetry({ content: next.content, hasNonce: true }));
      case 'retry_with_new_token': {
        // Even where no retry is possible, the next request must not get this token.
        const isDropped = this.#options.broker.dropRefused(route, session, next.token);
        const content = body.replay();
        if (content === undefined) throw await explained(BODY_NOT_KEPT);
        if (!isDropped) throw await explained('as it refused the previous one a moment ago');
        return this.#sendWithNewToken(this.#planRetry({ content, ...SECOND_TOKEN }));
      }
      case 'retry_with_new_secret': {
        // The file may have a new one by now.
        const token = await obtainSecret(route, session, true);
        if (isSameToken(token, next.token)) throw await explained('and its file has no other');
        const content = body.replay();
        if (content === undefined) throw await explained(BODY_NOT_KEPT);
        return this.#send(this.#planRetry({ token, content, ...SECOND_TOKEN }));
      }
      case 'sign_in':
        throw signInWanted(route, next.authentication, next.token);
      case 'fail':
        throw await explained(next.ending);
    }
  }

  async #sendWithNewToken(plan: AttemptPlan): Promise<void> {
    this.#send({ ...plan, token: await obtainToken(plan.prepared, plan.prepared.session, this.#options) });
  }

  #planRetry(changes: Partial<AttemptPlan>): AttemptPlan {
    this.#options.observer.upstreamRetried(this.#plan.prepared.route);
    return { ...this.#plan, isRetry: true, replacesExpired: false, ...changes };
  }

  #send(plan: AttemptPlan): void {
    new Attempt(plan, this.#options, this.#switched).send();
  }

  #failIfRejected(step: Promise<void>): void {
    step.catch((error: unknown) => this.#fail(error));
  }

  #fail(error: unknown): void {
    const { request, route } = this.#plan.prepared;
    if (error instanceof CambistError) failRequest(request, error);
    else void explainUnreachable(error as Error, route, this.#options).then((told) => failRequest(request, told));
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
    if (this.#discardedBytes > MAX_DISCARDED_BYTES) controller.abort(new Error('the refused response is too long'));
  }

  onResponseEnd(): void {
    const { request } = this.#plan.prepared;
    if (this.#state === 'waiting') this.#isComplete = true;
    // Nothing is left to abort, and making an error for the abort is costly.
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
