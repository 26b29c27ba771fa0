import { CambistError } from '../errors.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import { isExpired } from '../tokens/lifetime.ts';
import { obtainSecret } from '../tokens/route-secret.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import { Attempt, type AttemptOwner } from './attempt.ts';
import { type DiagnosisOptions, explainRefusal, explainUnreachable } from './backend-failure.ts';
import { insufficientScope } from './challenges.ts';
import { failRequest } from './consent.ts';
import type { ElicitationOptions } from './elicitation.ts';
import type { Rewriter } from './endpoint-event.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import {
  causeOf,
  followSession,
  isMadeFromCallers,
  type ObtainTokenOptions,
  obtainToken,
  timed,
} from './issued-token.ts';
import type { OpenRequests } from './open-requests.ts';
import type { RefusedResponse } from './refused-response.ts';
import { type AttemptPlan, sendAttempt } from './send.ts';
import type { Admitted, Switched } from './steps.ts';
import { expiredTwice, signInWanted } from './upstream-error.ts';

export interface UpstreamCallOptions extends ObtainTokenOptions, DiagnosisOptions, ElicitationOptions {
  readonly dispatchers: Dispatchers;
  readonly observer: ProxyObserver;
  /** Undefined without `signals`. */
  readonly openRequests?: OpenRequests | undefined;
}

/**
 * Sends an admitted request upstream and relays the response. Retries once with another token after a 401, once with a
 * nonce that a DPoP proof lacked, and once with more scopes after a 403 that asks for them. Never sends an expired token, or any
 * token after that of the caller was revoked.
 * @param switched given for a WebSocket handshake
 */
export function callUpstream(admitted: Admitted, options: UpstreamCallOptions, switched?: Switched): void {
  const { token, body } = admitted;
  const first = { token, content: body.content, isRetry: false, hasNewToken: false, hasNonce: false };
  new UpstreamCall(admitted, options, switched).attempt(first);
}

/** All attempts of one request. A class, because every request makes one: closures would be allocated for each. */
class UpstreamCall implements AttemptOwner {
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
    this.admitted.request.tokenSent(plan.token);
    const isWebSocket = this.switched !== undefined;
    const failed = (error: unknown): void => this.fail(error);
    sendAttempt(this.admitted, plan, isWebSocket, this.#options.dispatchers, new Attempt(this, plan), failed);
  }

  mayStart(plan: AttemptPlan): boolean {
    const { request, route } = this.admitted;
    if (this.#options.openRequests?.endIfRevoked(request) === true) return false;
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

  unauthorized(plan: AttemptPlan, wantsNonce: boolean, refused: RefusedResponse): void {
    const { route } = this.admitted;
    if (wantsNonce && !plan.hasNonce) this.#retryWithNonce(plan, refused);
    // The token is valid. Another one made from the same token of the caller would be no better.
    else if (refused.authentication !== undefined && isMadeFromCallers(this.admitted))
      this.fail(signInWanted(route, refused.authentication, refused.token));
    else if (plan.hasNewToken) this.#refuse(refused, 'and the next one as well');
    else if (route.credential.kind === 'secret') void this.#retryWithNewSecret(refused);
    else this.#retryWithNewToken(refused);
  }

  /** Retries with the same token. The prover knows the nonce by now. */
  #retryWithNonce(plan: AttemptPlan, refused: RefusedResponse): void {
    const { route, body } = this.admitted;
    const content = body.replay();
    if (content === undefined) {
      this.#refuse(refused, 'because its proof lacked a nonce, and the request is too large to be sent again');
      return;
    }
    this.#options.observer.upstreamRetried(route, 'token');
    this.attempt({ ...plan, content, isRetry: true, hasNonce: true });
  }

  #retryWithNewToken(refused: RefusedResponse): void {
    const { route, session, body } = this.admitted;
    const content = body.replay();
    const isNewTokenWorthwhile = this.#options.broker.refuse(route, session, refused.token);
    if (content === undefined) {
      this.#refuse(refused, 'and the request is too large to be sent again');
    } else if (!isNewTokenWorthwhile) {
      this.#refuse(refused, 'as it refused the previous one a moment ago');
    } else {
      this.#options.observer.upstreamRetried(route, 'token');
      const plan = { token: undefined, content, isRetry: true, hasNewToken: true, hasNonce: false };
      void this.#attemptWithNewToken(plan);
    }
  }

  /** Reads the file again, which may have a new secret by now. */
  async #retryWithNewSecret(refused: RefusedResponse): Promise<void> {
    const { route, session, body } = this.admitted;
    try {
      const token = await obtainSecret(route, session, true);
      const content = body.replay();
      if (token.authorization.reveal() === refused.token.authorization.reveal()) {
        this.#refuse(refused, 'and its file has no other');
      } else if (content === undefined) {
        this.#refuse(refused, 'and the request is too large to be sent again');
      } else {
        this.#options.observer.upstreamRetried(route, 'token');
        this.attempt({ token, content, isRetry: true, hasNewToken: true, hasNonce: false });
      }
    } catch (error) {
      this.fail(error);
    }
  }

  #refuse(refused: RefusedResponse, ending: string): void {
    const { route } = this.admitted;
    void explainRefusal(route, ending, refused, this.#options).then((error) => this.fail(error));
  }

  async #attemptWithNewToken(plan: AttemptPlan): Promise<void> {
    try {
      const token = await obtainToken(this.admitted, this.admitted.session, this.#options);
      this.attempt({ ...plan, token });
    } catch (error) {
      this.fail(error);
    }
  }

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
    const { request, route } = this.admitted;
    if (error instanceof CambistError) failRequest(error, request, this.#options);
    else void explainUnreachable(error as Error, route, this.#options).then((told) => request.fail(told));
  }
}
