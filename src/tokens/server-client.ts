import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AssertionFrom, AuthorizationServer } from '../config/authorization-server.ts';
import { assertionFrom } from '../config/used-servers.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { boundedRequest, type HttpResponse, type RequestUrl } from './bounded-request.ts';
import { authenticateClient, type ClientAuthentication } from './client-auth.ts';
import type { FailedTokenRequest } from './diagnosis.ts';
import type { DpopProver } from './issued-token.ts';
import type { FormField, SentValue } from './sent-values.ts';
import { failedRequest, formRequest } from './server-request.ts';
import type { Assertion } from './token-request.ts';
import { asksForNonce } from './token-response.ts';

/** Gets client assertions from another authorization server, which vouches for cambist there (RFC 7523 section 2.2). */
export interface ClientAssertions {
  /** @param neededBy the route or purpose that needs the assertion first, for the log and the metrics */
  obtain(
    server: AuthorizationServer,
    from: AssertionFrom,
    neededBy: string,
  ): Promise<{ readonly assertion: Assertion; readonly reused: boolean }>;
  drop(server: AuthorizationServer, assertion: Assertion): void;
  /** Discovers the other server before the first request. */
  prepare(from: AssertionFrom): Promise<void>;
}

/** One form for an endpoint. The last request that was sent, and its response, are evidence for a diagnosis. */
export interface Attempt {
  readonly url: RequestUrl;
  /** The values lack client authentication. */
  readonly fields: readonly FormField[];
  /** Deadline in milliseconds of `performance.now()`. */
  readonly untilMs: number;
  form?: FailedTokenRequest['form'];
  sent?: FailedTokenRequest['sent'];
  response?: FailedTokenRequest['response'];
}

interface Reply {
  readonly response: HttpResponse;
  /** Monotonic milliseconds. */
  readonly sentAtMs: number;
  readonly sent: SentValue[];
}

interface ServerClientOptions {
  /** Gives the connection pool, which may have to read TLS files first. */
  readonly dispatcher: () => Dispatcher | Promise<Dispatcher>;
  readonly clock: Clock;
  readonly clientAssertions: ClientAssertions;
  readonly credentialRead: TokenObserver['credentialRead'];
  /** Tells from a response whether the server refused the client, and not the token. */
  readonly refusesClient: (response: HttpResponse) => boolean;
  /** Undefined at an endpoint that issues no token. */
  readonly dpop?: DpopProver;
}

/**
 * The client of one authorization server: sends forms with client authentication.
 * @param endpoint its kind, as in `token endpoint`
 */
export function createServerClient(
  server: AuthorizationServer,
  endpoint: string,
  { dispatcher, clock, clientAssertions, credentialRead, refusesClient, dpop }: ServerClientOptions,
) {
  const from = assertionFrom(server);
  const prover = server.dpop ? dpop : undefined;
  const nonceFrom = `authorization server ${server.name}`;

  function authenticate(url: RequestUrl, assertion?: Assertion): ClientAuthentication | Promise<ClientAuthentication> {
    return authenticateClient(server, server.issuer ?? url.text, clock, credentialRead, assertion?.assertion);
  }

  /** Sends the form with an assertion of another server. A cached one may be revoked, and is then replaced once. */
  async function sendAsserted(issuer: AssertionFrom, attempt: Attempt, neededBy: string): Promise<Reply> {
    const { assertion, reused } = await clientAssertions.obtain(server, issuer, neededBy);
    const reply = await sendWithNonce(attempt, assertion);
    if (!refusesClient(reply.response)) return reply;
    clientAssertions.drop(server, assertion);
    return reused ? sendWithNonce(attempt, (await clientAssertions.obtain(server, issuer, neededBy)).assertion) : reply;
  }

  /** Sends the form again where the server wants a nonce in its proof (RFC 9449 section 8). */
  async function sendWithNonce(attempt: Attempt, assertion?: Assertion): Promise<Reply> {
    const first = await sendOnce(attempt, assertion);
    if (!prover?.learn(nonceFrom, first.response.dpopNonce) || !asksForNonce(first.response)) return first;
    const second = await sendOnce(attempt, assertion);
    prover.learn(nonceFrom, second.response.dpopNonce);
    return { ...second, sent: [...first.sent, ...second.sent] };
  }

  /** Each attempt has its own client assertion and proof, because the server accepts each of them once. */
  async function sendOnce(attempt: Attempt, assertion?: Assertion): Promise<Reply> {
    const { url, untilMs } = attempt;
    const authenticating = authenticate(url, assertion);
    const client = authenticating instanceof Promise ? await authenticating : authenticating;
    const fields = [...attempt.fields, ...client.fields];
    const sent: SentValue[] = [...fields, ...client.sent];
    const request = formRequest(url, fields, client, untilMs);
    if (prover !== undefined) {
      const proof = await prover.prove({ method: 'POST', url: url.text, nonceFrom });
      request.headers.dpop = proof;
      sent.push({ name: 'DPoP', value: proof, isCredential: true });
    }
    const sentAtMs = clock.monotonicMs();
    attempt.form = request.body;
    attempt.sent = sent;
    attempt.response = undefined;
    const opening = dispatcher();
    const pool = opening instanceof Promise ? await opening : opening;
    try {
      attempt.response = await boundedRequest(pool, request);
      return { response: attempt.response, sentAtMs, sent };
    } catch (cause) {
      throw failedRequest(server, endpoint, cause);
    }
  }

  return {
    /**
     * Reads the client credential, or prepares the server that issues it, so that a problem shows before the first request.
     * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE, and the codes of `ClientAssertions.prepare`
     */
    async prepare(url: RequestUrl): Promise<void> {
      await (from === undefined ? authenticate(url) : clientAssertions.prepare(from));
      await dispatcher();
    },
    /**
     * Sends a form, and returns the last response to it.
     * @param neededBy the route or purpose, for the log and the metrics
     * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_RESPONSE_INVALID, ERR_CREDENTIAL_UNAVAILABLE, and the codes of
     *   `ClientAssertions.obtain`
     */
    send(attempt: Attempt, neededBy: string): Promise<Reply> {
      if (from !== undefined) return sendAsserted(from, attempt, neededBy);
      return prover === undefined ? sendOnce(attempt) : sendWithNonce(attempt);
    },
  };
}
