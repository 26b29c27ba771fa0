import { performance } from 'node:perf_hooks';
import type { Dispatcher } from 'undici';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { TokenTarget } from '../config/route.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { type AcceptedToken, acceptToken, type LifetimeSettings } from './accept-token.ts';
import type { HttpResponse } from './bounded-request.ts';
import { addDiagnosis, type LoadDiagnoses } from './diagnosis.ts';
import { createEndpointLocator } from './discovery.ts';
import type { EndpointClaims } from './endpoint-claims.ts';
import { createExchangeQueue } from './exchange-queue.ts';
import type { DpopProver } from './issued-token.ts';
import { observeExchange } from './observe-exchange.ts';
import type { SentValue } from './sent-values.ts';
import { type Attempt, type ClientAssertions, createServerClient } from './server-client.ts';
import { buildTokenRequest, type Grant, type TokenRequest } from './token-request.ts';
import { type ExpectedResponse, processTokenResponse } from './token-response.ts';
import { parseJsonObject } from './token-text.ts';

export interface TokenEndpointContext extends LifetimeSettings {
  readonly dpop: DpopProver;
  readonly claims: EndpointClaims;
  /** Needed where another server issues the client assertion. */
  readonly clientAssertions: ClientAssertions;
  readonly observer: TokenObserver;
  /** Explains failures. Undefined: they get no explanation. */
  readonly diagnoses?: LoadDiagnoses | undefined;
}

export type TokenEndpoint = ReturnType<typeof createTokenEndpoint>;

/** @param dispatcher gives the connection pool, which may have to read TLS files first */
export function createTokenEndpoint(
  server: AuthorizationServer,
  dispatcher: () => Dispatcher | Promise<Dispatcher>,
  context: TokenEndpointContext,
) {
  const { clock, dpop, claims, observer, diagnoses, clientAssertions } = context;
  const client = createServerClient(server, 'token endpoint', {
    dispatcher,
    clock,
    clientAssertions,
    credentialRead: observer.credentialRead,
    refusesClient,
    dpop,
  });
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

  async function exchangeNow(request: TokenRequest): Promise<AcceptedToken> {
    const granting = request.grant();
    const grant = granting instanceof Promise ? await granting : granting;
    const untilMs = performance.now() + server.timeoutMs;
    const locating = locate();
    const url = locating instanceof Promise ? await locating : locating;
    const attempt: Attempt = { url, fields: buildTokenRequest(grant, request.target, server), untilMs };
    try {
      const { response, sentAtMs, sent } = await client.send(attempt, request.routeName);
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

  return {
    /**
     * Discovers the endpoint and reads the client credential, so that a problem shows before the first request.
     * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_CREDENTIAL_UNAVAILABLE
     */
    async prepare(): Promise<void> {
      await client.prepare(await locate());
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

/** @see RFC 6749 section 5.2 */
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
