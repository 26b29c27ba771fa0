import type { Dispatcher } from 'undici';
import type { AssertionFrom, AuthorizationServer } from '../config/authorization-server.ts';
import { assertionFrom } from '../config/used-servers.ts';
import { CambistError } from '../errors.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { type AcceptedToken, acceptToken, type LifetimeSettings } from './accept-token.ts';
import {
  type BoundedRequest,
  boundedRequest,
  type HttpResponse,
  type RequestUrl,
  ResponseTooLargeError,
} from './bounded-request.ts';
import type { Assertion } from './chain.ts';
import { authenticateClient, type ClientAuthentication } from './client-auth.ts';
import { addDiagnosis, type FailedTokenRequest, type LoadDiagnoses, type MetadataAttempt } from './diagnosis.ts';
import { discover } from './discovery.ts';
import type { DpopProver } from './dpop.ts';
import type { EndpointClaims } from './endpoint-claims.ts';
import { createEndpointLocator, type FoundEndpoint } from './endpoint-locator.ts';
import { createExchangeQueue } from './exchange-queue.ts';
import type { FormField } from './form-encoding.ts';
import { parseJsonObject } from './json-object.ts';
import { serverLabel } from './metadata.ts';
import { observeExchange } from './observe-exchange.ts';
import { type SentValue, sentInForm } from './sent-values.ts';
import { buildTokenRequest, type Grant, type TokenRequest } from './token-request.ts';
import { asksForNonce, type ExpectedResponse, processTokenResponse } from './token-response.ts';

/** The token endpoint of one authorization server. */
export interface TokenEndpoint {
  /**
   * Discovers the endpoint and reads the client credential, so that a problem shows before the first request.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_CREDENTIAL_UNAVAILABLE
   */
  prepare(): Promise<void>;
  /**
   * Requests a token when its turn comes: builds the request, authenticates the client, sends, and processes the response.
   * @throws {CambistError} ERR_STS_UNAVAILABLE when the server is unreachable, down or overloaded; ERR_CREDENTIAL_UNAVAILABLE;
   *   and the codes of `processTokenResponse` and `acceptToken`
   */
  exchange(request: TokenRequest): Promise<AcceptedToken>;
}

/** Gets client assertions from another authorization server, which vouches for cambist there (RFC 7523 section 2.2). */
export interface ClientAssertions {
  /** @param routeName the route that needs the assertion first, for the log and the metrics */
  obtain(
    server: AuthorizationServer,
    from: AssertionFrom,
    routeName: string,
  ): Promise<{ readonly assertion: Assertion; readonly reused: boolean }>;
  /** Drops an assertion that the server refused. */
  drop(server: AuthorizationServer, assertion: Assertion): void;
  /** Discovers the other server before the first request. */
  prepare(from: AssertionFrom): Promise<void>;
}

/** The part that all token endpoints share. */
export interface TokenEndpointContext extends LifetimeSettings {
  readonly dpop: DpopProver;
  readonly claims: EndpointClaims;
  /** Needed where another server issues the client assertion. */
  readonly clientAssertions: ClientAssertions;
  readonly observer: TokenObserver;
  /** Explain failures. Undefined: nothing does. */
  readonly diagnoses?: LoadDiagnoses | undefined;
}

interface Reply {
  readonly response: HttpResponse;
  /** Monotonic milliseconds. */
  readonly sentAtMs: number;
  readonly sent: SentValue[];
}

/** The last request that was sent, and its response. Filled in while an exchange proceeds. */
type Evidence = { -readonly [Key in 'url' | 'form' | 'sent' | 'response']?: FailedTokenRequest[Key] };

/** @param dispatcher gives the connection pool, which may have to read TLS files first */
export function createTokenEndpoint(
  server: AuthorizationServer,
  dispatcher: () => Dispatcher | Promise<Dispatcher>,
  context: TokenEndpointContext,
): TokenEndpoint {
  const { clock, dpop, claims, observer, diagnoses, clientAssertions } = context;
  const from = assertionFrom(server);
  const queue = createExchangeQueue(server.name, server.timeoutMs, clock, (available) =>
    observer.availabilityChanged(server.name, available),
  );
  const locate = createEndpointLocator({
    server,
    configured: server.tokenEndpoint,
    dispatcher,
    discover: (pool, untilMs) => discoverTokenEndpoint(server, pool, untilMs, diagnoses),
    claims,
    clock,
  });
  const nonceFrom = `authorization server ${server.name}`;

  function authenticate(url: RequestUrl, assertion?: Assertion): Promise<ClientAuthentication> {
    const audience = server.issuer ?? url.text;
    return authenticateClient(server, audience, clock, observer.credentialRead, assertion?.assertion);
  }

  async function exchangeNow(request: TokenRequest): Promise<AcceptedToken> {
    const grant = await request.grant();
    const untilMs = performance.now() + server.timeoutMs;
    const url = await locate();
    const fields = buildTokenRequest(grant, request.target, server);
    const evidence: Evidence = {};
    const post = (assertion?: Assertion): Promise<Reply> => send(url, fields, untilMs, evidence, assertion);
    try {
      const { response, sentAtMs, sent } = from === undefined ? await post() : await assertedBy(from, request, post);
      const expected = expectedResponse(server, grant, request, sent);
      const token = processTokenResponse(response, expected, clock.wallMs());
      const { accessToken, tokenType } = token;
      const actor = grant.kind === 'token_exchange' ? grant.actor?.claims : undefined;
      return { accessToken, tokenType, sent, actor, ...acceptToken(token, sentAtMs, request, context) };
    } catch (error) {
      await explain(error, request, grant, evidence);
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

  async function explain(error: unknown, request: TokenRequest, grant: Grant, evidence: Evidence): Promise<void> {
    const { url, form, sent, response } = evidence;
    if (url === undefined || form === undefined || sent === undefined) return;
    await addDiagnosis(error, diagnoses, (catalogue, failure) =>
      catalogue.tokenRequest({
        server,
        request,
        grant,
        url,
        form,
        sent,
        response,
        failure,
        failedAtMs: clock.wallMs(),
      }),
    );
  }

  async function send(
    url: RequestUrl,
    fields: readonly FormField[],
    untilMs: number,
    evidence: Evidence,
    assertion: Assertion | undefined,
  ): Promise<Reply> {
    const first = await sendOnce(url, fields, untilMs, evidence, assertion);
    if (!server.dpop || !dpop.learn(nonceFrom, first.response.dpopNonce) || !asksForNonce(first.response)) return first;
    const second = await sendOnce(url, fields, untilMs, evidence, assertion);
    dpop.learn(nonceFrom, second.response.dpopNonce);
    return { ...second, sent: [...first.sent, ...second.sent] };
  }

  /** Each attempt has its own client assertion and proof, because the server accepts each of them once. */
  async function sendOnce(
    url: RequestUrl,
    fields: readonly FormField[],
    untilMs: number,
    evidence: Evidence,
    assertion: Assertion | undefined,
  ): Promise<Reply> {
    const client = await authenticate(url, assertion);
    const all = [...fields, ...client.fields];
    const sent = [...sentInForm(all), ...client.sent];
    const form = new URLSearchParams();
    for (const [name, value] of all) form.append(name, value);
    const headers: Record<string, string> = {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded',
    };
    if (client.authorization !== undefined) headers.authorization = client.authorization;
    if (server.dpop) {
      headers.dpop = await dpop.prove({ method: 'POST', url: url.text, nonceFrom });
      sent.push({ name: 'DPoP', value: headers.dpop, isCredential: true });
    }
    const sentAtMs = clock.monotonicMs();
    Object.assign(evidence, { url: url.text, form, sent, response: undefined });
    const response = await post({ method: 'POST', url, headers, body: form.toString(), untilMs });
    evidence.response = response;
    return { response, sentAtMs, sent };
  }

  async function post(request: BoundedRequest): Promise<HttpResponse> {
    const pool = await dispatcher();
    try {
      return await boundedRequest(pool, request);
    } catch (cause) {
      const label = serverLabel(server);
      if (cause instanceof ResponseTooLargeError) {
        throw new CambistError('ERR_STS_RESPONSE_INVALID', `${label}: ${cause.message}`);
      }
      const message = `${label}: the token endpoint is unreachable, or its response is broken or late`;
      throw new CambistError('ERR_STS_UNAVAILABLE', message, { cause });
    }
  }

  return {
    async prepare() {
      const url = await locate();
      await (from === undefined ? authenticate(url) : clientAssertions.prepare(from));
      await dispatcher();
    },
    exchange: (request) =>
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

/** @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID, with the cause where `diagnoses` find it */
async function discoverTokenEndpoint(
  server: AuthorizationServer,
  pool: Dispatcher,
  untilMs: number,
  diagnoses: LoadDiagnoses | undefined,
): Promise<FoundEndpoint> {
  const attempts: MetadataAttempt[] = [];
  try {
    const metadata = await discover(server, server.issuer ?? '', pool, untilMs, attempts);
    const { tokenEndpoint, mtlsTokenEndpoint = tokenEndpoint } = metadata;
    return { endpoint: mtlsTokenEndpoint, claimed: [tokenEndpoint, mtlsTokenEndpoint] };
  } catch (error) {
    await addDiagnosis(error, diagnoses, (catalogue, { message }) =>
      catalogue.discovery({ server, attempts, message }),
    );
    throw error;
  }
}
