import { performance } from 'node:perf_hooks';
import type { Dispatcher } from 'undici';
import type { AssertionFrom, AuthorizationServer } from '../config/authorization-server.ts';
import type { TokenTarget } from '../config/route.ts';
import { assertionFrom } from '../config/used-servers.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { type AcceptedToken, acceptToken, type LifetimeSettings } from './accept-token.ts';
import { boundedRequest, type HttpResponse, type RequestUrl } from './bounded-request.ts';
import { authenticateClient, type ClientAuthentication } from './client-auth.ts';
import { addDiagnosis, type FailedTokenRequest, type LoadDiagnoses } from './diagnosis.ts';
import { createEndpointLocator } from './discovery.ts';
import type { EndpointClaims } from './endpoint-claims.ts';
import { createExchangeQueue } from './exchange-queue.ts';
import type { DpopProver } from './issued-token.ts';
import { observeExchange } from './observe-exchange.ts';
import { type FormField, type SentValue, sentInForm } from './sent-values.ts';
import { failedRequest, formRequest } from './server-request.ts';
import { type Assertion, buildTokenRequest, type Grant, type TokenRequest } from './token-request.ts';
import { asksForNonce, type ExpectedResponse, processTokenResponse } from './token-response.ts';
import { parseJsonObject } from './token-text.ts';

/** Gets client assertions from another authorization server, which vouches for cambist there (RFC 7523 section 2.2). */
export interface ClientAssertions {
  /** @param routeName the route that needs the assertion first, for the log and the metrics */
  obtain(
    server: AuthorizationServer,
    from: AssertionFrom,
    routeName: string,
  ): Promise<{ readonly assertion: Assertion; readonly reused: boolean }>;
  drop(server: AuthorizationServer, assertion: Assertion): void;
  /** Discovers the other server before the first request. */
  prepare(from: AssertionFrom): Promise<void>;
}

export interface TokenEndpointContext extends LifetimeSettings {
  readonly dpop: DpopProver;
  readonly claims: EndpointClaims;
  /** Needed where another server issues the client assertion. */
  readonly clientAssertions: ClientAssertions;
  readonly observer: TokenObserver;
  /** Explains failures. Undefined: they get no explanation. */
  readonly diagnoses?: LoadDiagnoses | undefined;
}

interface Reply {
  readonly response: HttpResponse;
  /** Monotonic milliseconds. */
  readonly sentAtMs: number;
  readonly sent: SentValue[];
}

/** One exchange on its way. The last request that was sent, and its response, are evidence for a diagnosis. */
interface Attempt {
  readonly url: RequestUrl;
  /** The values lack client authentication. */
  readonly fields: readonly FormField[];
  /** Deadline in milliseconds of `performance.now()`. */
  readonly untilMs: number;
  form?: FailedTokenRequest['form'];
  sent?: FailedTokenRequest['sent'];
  response?: FailedTokenRequest['response'];
}

export type TokenEndpoint = ReturnType<typeof createTokenEndpoint>;

/** @param dispatcher gives the connection pool, which may have to read TLS files first */
export function createTokenEndpoint(
  server: AuthorizationServer,
  dispatcher: () => Dispatcher | Promise<Dispatcher>,
  context: TokenEndpointContext,
) {
  const { clock, dpop, claims, observer, diagnoses, clientAssertions } = context;
  const from = assertionFrom(server);
  const queue = createExchangeQueue(server.name, server.timeoutMs, clock, (available) =>
    observer.availabilityChanged(server.name, available),
  );
  const locate = createEndpointLocator({
    server,
    field: 'token_endpoint',
    configured: server.tokenEndpoint,
    dispatcher,
    claims,
    clock,
    diagnoses,
  });
  /** Targets for which a caller's token has been exchanged, so that a refusal is distinguished from a wrong config. */
  const succeeded = new WeakSet<TokenTarget>();
  const nonceFrom = `authorization server ${server.name}`;
  const send = server.dpop ? sendWithNonce : sendOnce;

  function authenticate(url: RequestUrl, assertion?: Assertion): ClientAuthentication | Promise<ClientAuthentication> {
    const audience = server.issuer ?? url.text;
    return authenticateClient(server, audience, clock, observer.credentialRead, assertion?.assertion);
  }

  async function exchangeNow(request: TokenRequest): Promise<AcceptedToken> {
    const granting = request.grant();
    const grant = granting instanceof Promise ? await granting : granting;
    const untilMs = performance.now() + server.timeoutMs;
    const locating = locate();
    const url = locating instanceof Promise ? await locating : locating;
    const attempt: Attempt = { url, fields: buildTokenRequest(grant, request.target, server), untilMs };
    const post = (assertion?: Assertion): Promise<Reply> => send(attempt, assertion);
    try {
      const { response, sentAtMs, sent } = from === undefined ? await post() : await assertedBy(from, request, post);
      const expected = expectedResponse(server, grant, request, sent);
      const token = processTokenResponse(response, expected, clock.wallMs());
      const { lifetime, isForOthers, claims: issued, granted } = acceptToken(token, sentAtMs, request, context);
      if (grant.kind !== 'client_credentials') succeeded.add(request.target);
      return {
        accessToken: token.accessToken,
        tokenType: token.tokenType,
        sent,
        actor: grant.kind === 'token_exchange' ? grant.actor?.claims : undefined,
        lifetime,
        isForOthers,
        claims: issued,
        granted,
      };
    } catch (error) {
      await explain(error, request, grant, attempt);
      throw error;
    }
  }

  /** Sends the request with an assertion of another server. A cached one may be revoked, and is then replaced once. */
  async function assertedBy(
    issuer: AssertionFrom,
    { routeName }: TokenRequest,
    post: (assertion: Assertion) => Promise<Reply>,
  ): Promise<Reply> {
    const { assertion, reused } = await clientAssertions.obtain(server, issuer, routeName);
    const reply = await post(assertion);
    if (!refusesClient(reply.response)) return reply;
    clientAssertions.drop(server, assertion);
    return reused ? post((await clientAssertions.obtain(server, issuer, routeName)).assertion) : reply;
  }

  async function explain(error: unknown, request: TokenRequest, grant: Grant, attempt: Attempt): Promise<void> {
    const { url, form, sent, response } = attempt;
    if (form === undefined || sent === undefined) return;
    await addDiagnosis(error, diagnoses, (catalogue, failure) =>
      catalogue.tokenRequest({
        server,
        request,
        grant,
        url: url.text,
        form,
        sent,
        response,
        failure,
        failedAtMs: clock.wallMs(),
        hasSucceeded: grant.kind !== 'client_credentials' && succeeded.has(request.target),
      }),
    );
  }

  /** Sends the request again where the server wants a nonce in its proof (RFC 9449 section 8). */
  async function sendWithNonce(attempt: Attempt, assertion: Assertion | undefined): Promise<Reply> {
    const first = await sendOnce(attempt, assertion);
    if (!dpop.learn(nonceFrom, first.response.dpopNonce) || !asksForNonce(first.response)) return first;
    const second = await sendOnce(attempt, assertion);
    dpop.learn(nonceFrom, second.response.dpopNonce);
    return { ...second, sent: [...first.sent, ...second.sent] };
  }

  /** Each attempt has its own client assertion and proof, because the server accepts each of them once. */
  async function sendOnce(attempt: Attempt, assertion: Assertion | undefined): Promise<Reply> {
    const { url, untilMs } = attempt;
    const authenticating = authenticate(url, assertion);
    const client = authenticating instanceof Promise ? await authenticating : authenticating;
    const fields = [...attempt.fields, ...client.fields];
    const sent = [...sentInForm(fields), ...client.sent];
    const request = formRequest(url, fields, client, untilMs);
    if (server.dpop) {
      const proof = await dpop.prove({ method: 'POST', url: url.text, nonceFrom });
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
      throw failedRequest(server, 'token endpoint', cause);
    }
  }

  return {
    /**
     * Discovers the endpoint and reads the client credential, so that a problem shows before the first request.
     * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_CREDENTIAL_UNAVAILABLE
     */
    async prepare(): Promise<void> {
      const url = await locate();
      await (from === undefined ? authenticate(url) : clientAssertions.prepare(from));
      await dispatcher();
    },
    /**
     * Requests a token when its turn comes: builds the request, authenticates the client, sends, and processes the response.
     * @throws {CambistError} ERR_STS_UNAVAILABLE when the server is unreachable, down or overloaded; ERR_CREDENTIAL_UNAVAILABLE;
     *   and the codes of `processTokenResponse` and `acceptToken`
     */
    exchange: (request: TokenRequest): Promise<AcceptedToken> =>
      queue.run(request.requester, () =>
        observeExchange(server.name, request, observer, clock, () => exchangeNow(request)),
      ),
  };
}

/** Did the server refuse the client, and not the subject token? */
function refusesClient({ status, text }: HttpResponse): boolean {
  return (status === 400 || status === 401) && parseJsonObject(text)?.error === 'invalid_client';
}

function expectedResponse(
  server: AuthorizationServer,
  grant: Grant,
  { target, expect, earlier, consent }: TokenRequest,
  sent: readonly SentValue[],
): ExpectedResponse {
  const isOurs = grant.kind === 'client_credentials' || (grant.kind === 'jwt_bearer' && grant.from === 'chain');
  return {
    serverName: server.name,
    credentialOwner: isOurs ? 'cambist' : 'caller',
    actsForUser: grant.kind !== 'client_credentials',
    consent,
    requestedTokenType: target.requestedTokenType,
    kind: expect === 'assertion' ? expect : server.dpop ? 'bearer_or_dpop' : 'bearer',
    sent: earlier === undefined ? sent : [...sent, ...earlier.values],
    sentEarlier: earlier?.digests,
  };
}
