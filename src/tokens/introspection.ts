import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { assertionFrom } from '../config/used-servers.ts';
import type { Introspection, SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { isFor } from './audience.ts';
import { boundedRequest, type HttpResponse, isPassing, passingError, type RequestUrl } from './bounded-request.ts';
import { authenticateClient } from './client-auth.ts';
import { createEndpointLocator } from './discovery.ts';
import { createEndpointClaims } from './endpoint-claims.ts';
import { createExchangeQueue, type ExchangeQueue } from './exchange-queue.ts';
import type { FormField } from './sent-values.ts';
import { failedRequest, formRequest } from './server-request.ts';
import { holderOf, type Subject } from './subject.ts';
import type { ClientAssertions } from './token-endpoint.ts';
import { EXPIRY_LEEWAY_MS, type JsonObject, parseJsonObject } from './token-text.ts';

/** An active token, as its authorization server describes it. */
export interface Introspected {
  /** `iss` is always set, because the server that was asked vouches for its issuer. */
  readonly claims: JsonObject;
  /** Epoch milliseconds. Undefined where the server does not state it. */
  readonly expiresAtMs: number | undefined;
  /** Length of the response, which bounds the memory of cached results. */
  readonly length: number;
}

/** Longest response, in characters: twice the header that may carry a token. Results are cached by the thousand. */
const MAX_LENGTH = 64 * 1024;

/**
 * Processes the response of an introspection endpoint. Pure.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID for a token that is inactive or breaks the rules; ERR_CLIENT_REFUSED,
 *   ERR_STS_UNAVAILABLE, ERR_STS_RESPONSE_INVALID
 * @see RFC 7662 sections 2.2 and 2.3
 */
export function processIntrospection(
  response: HttpResponse,
  serverName: string,
  { issuer, audience }: SubjectVerification,
  wallMs: number,
): Introspected {
  const { status, text } = response;
  if (isPassing(status)) throw passingError(`${label(serverName)} returned status ${status}`, response, wallMs);
  if (status === 400 || status === 401 || status === 403) {
    throw new CambistError(
      'ERR_CLIENT_REFUSED',
      `${label(serverName)} refused the request with ${status}: check client_id and client_auth, and that this client may introspect tokens`,
      { serverStatus: status },
    );
  }
  const body = status === 200 && text.length <= MAX_LENGTH ? parseJsonObject(text) : undefined;
  if (body === undefined || typeof body.active !== 'boolean') throw unusable(serverName, status);
  if (!body.active) throw refused(serverName, 'is not active');
  const exp = instant(body.exp, 'exp', serverName, status);
  const nbf = instant(body.nbf, 'nbf', serverName, status);
  if (body.iss !== undefined && body.iss !== issuer) throw refused(serverName, 'is of another issuer');
  if (!isFor(body, audience)) throw refused(serverName, 'is for another audience');
  if (holderOf(body) !== undefined) throw refused(serverName, 'is bound to a key or a certificate of its holder');
  if (exp !== undefined && exp + EXPIRY_LEEWAY_MS <= wallMs) throw refused(serverName, 'is expired', true);
  if (nbf !== undefined && nbf - EXPIRY_LEEWAY_MS > wallMs) throw refused(serverName, 'is not valid yet');
  return { claims: { ...body, iss: issuer }, expiresAtMs: exp, length: text.length };
}

/** Epoch milliseconds. */
function instant(value: unknown, name: string, serverName: string, status: number): number | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    throw unusable(serverName, status, `its "${name}" is not a number`);
  }
  return value * 1000;
}

function refused(serverName: string, why: string, expired = false): CambistError {
  return new CambistError(
    'ERR_SUBJECT_TOKEN_INVALID',
    `the introspection at authorization server "${serverName}" says that the subject token ${why}`,
    {
      expired,
      ...(!expired && {
        diagnosis: {
          finding: 'introspection_refused',
          cause: `authorization server "${serverName}" says that the caller's token ${why}`,
          fix: 'the caller must obtain a new token. If each token is refused, compare its issuer and audience with verify',
        },
      }),
    },
  );
}

function unusable(
  serverName: string,
  status: number,
  why = 'it does not say whether the token is active',
): CambistError {
  return new CambistError(
    'ERR_STS_RESPONSE_INVALID',
    `${label(serverName)} returned an unusable response with status ${status}: ${why}: check introspection.endpoint, and ` +
      'gateways in front of it',
  );
}

function label(serverName: string): string {
  return `the introspection endpoint of authorization server "${serverName}"`;
}

interface IntrospectorOptions {
  readonly dispatcher: (server: AuthorizationServer) => Dispatcher | Promise<Dispatcher>;
  readonly clock: Clock;
  readonly clientAssertions: ClientAssertions;
  readonly observer: Pick<TokenObserver, 'credentialRead' | 'introspected'>;
  readonly servers: () => readonly AuthorizationServer[];
}

/** One introspection endpoint, with the requests that wait for it. */
interface Endpoint {
  readonly queue: ExchangeQueue;
  readonly locate: () => RequestUrl | Promise<RequestUrl>;
}

export type Introspector = ReturnType<typeof createIntrospector>;

export function createIntrospector(options: IntrospectorOptions) {
  const { clock, dispatcher, clientAssertions, observer, servers } = options;
  const endpoints = new Map<string, Endpoint>();
  const inFlight = new Map<string, Promise<Introspected>>();
  const claims = createEndpointClaims(servers, 'introspection endpoint', 'introspection.endpoint');

  function endpointOf(introspection: Introspection): Endpoint {
    const { authorizationServer: server, endpoint } = introspection;
    const key = JSON.stringify([server, endpoint]);
    const known = endpoints.get(key) ?? {
      queue: createExchangeQueue(server.name, server.timeoutMs, clock, () => {}),
      locate: createEndpointLocator({
        server,
        field: 'introspection_endpoint',
        configured: endpoint,
        dispatcher,
        claims,
        clock,
      }),
    };
    endpoints.set(key, known);
    return known;
  }

  async function ask(
    subject: Subject,
    rules: SubjectVerification,
    { authorizationServer: server }: Introspection,
    locate: Endpoint['locate'],
  ): Promise<Introspected> {
    const untilMs = performance.now() + server.timeoutMs;
    const url = await locate();
    const from = assertionFrom(server);
    const issued = from && (await clientAssertions.obtain(server, from, 'introspection')).assertion;
    const audience = server.issuer ?? url.text;
    const client = await authenticateClient(server, audience, clock, observer.credentialRead, issued?.assertion);
    const fields: readonly FormField[] = [
      ['token', subject.token.reveal()],
      ['token_type_hint', 'access_token'],
      ...client.fields,
    ];
    const pool = await dispatcher(server);
    const response = await boundedRequest(pool, formRequest(url, fields, client, untilMs)).catch((cause: unknown) => {
      throw failedRequest(server, 'introspection endpoint', cause);
    });
    if (issued !== undefined && response.status === 401) clientAssertions.drop(server, issued);
    return processIntrospection(response, server.name, rules, clock.wallMs());
  }

  async function askOnce(
    subject: Subject,
    rules: SubjectVerification,
    introspection: Introspection,
    peer: string | undefined,
  ): Promise<Introspected> {
    const { name } = introspection.authorizationServer;
    const { queue, locate } = endpointOf(introspection);
    try {
      const result = await queue.run({ caller: subject.digest, peer }, () =>
        ask(subject, rules, introspection, locate),
      );
      observer.introspected(name, 'active');
      return result;
    } catch (error) {
      const isInactive = error instanceof CambistError && error.code === 'ERR_SUBJECT_TOKEN_INVALID';
      observer.introspected(name, isInactive ? 'refused' : 'failure');
      throw error;
    }
  }

  return {
    /**
     * Finds the endpoint, and reads the client credential.
     * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID, ERR_CREDENTIAL_UNAVAILABLE
     */
    async prepare(introspection: Introspection): Promise<void> {
      const { authorizationServer: server } = introspection;
      const url = await endpointOf(introspection).locate();
      const from = assertionFrom(server);
      if (from === undefined)
        await authenticateClient(server, server.issuer ?? url.text, clock, observer.credentialRead);
      else await clientAssertions.prepare(from);
      await dispatcher(server);
    },
    /**
     * Asks about a token. Concurrent callers with the same token and rules share one request.
     * @throws {CambistError} the codes of `prepare` and of `processIntrospection`
     */
    introspect(
      subject: Subject,
      rules: SubjectVerification,
      introspection: Introspection,
      peer: string | undefined,
    ): Promise<Introspected> {
      const key = `${subject.digest}:${JSON.stringify(rules)}`;
      let pending = inFlight.get(key);
      if (pending === undefined) {
        pending = askOnce(subject, rules, introspection, peer).finally(() => inFlight.delete(key));
        inFlight.set(key, pending);
      }
      return pending;
    },
  };
}
