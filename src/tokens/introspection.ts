import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Introspection, SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { isFor } from './audience.ts';
import { type HttpResponse, isPassing, passingError, type RequestUrl } from './bounded-request.ts';
import { createEndpointLocator } from './discovery.ts';
import { createEndpointClaims } from './endpoint-claims.ts';
import { createExchangeQueue, type ExchangeQueue } from './exchange-queue.ts';
import { constantField, formField } from './sent-values.ts';
import { type ClientAssertions, createServerClient } from './server-client.ts';
import { holderOf, type Subject } from './subject.ts';
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

const TOKEN_TYPE_HINT = constantField('token_type_hint', 'access_token');

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
  readonly client: ReturnType<typeof createServerClient>;
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
      client: createServerClient(server, 'introspection endpoint', {
        dispatcher: () => dispatcher(server),
        clock,
        clientAssertions,
        credentialRead: observer.credentialRead,
        // Keycloak calls it `invalid_request`, and others have no body.
        refusesClient: ({ status }) => status === 401,
      }),
    };
    endpoints.set(key, known);
    return known;
  }

  async function ask(
    subject: Subject,
    rules: SubjectVerification,
    { name, timeoutMs }: AuthorizationServer,
    { client, locate }: Endpoint,
  ): Promise<Introspected> {
    const untilMs = performance.now() + timeoutMs;
    const fields = [formField('token', subject.token.reveal()), TOKEN_TYPE_HINT];
    const { response } = await client.send({ url: await locate(), fields, untilMs }, 'introspection');
    return processIntrospection(response, name, rules, clock.wallMs());
  }

  async function askOnce(
    subject: Subject,
    rules: SubjectVerification,
    introspection: Introspection,
    peer: string | undefined,
  ): Promise<Introspected> {
    const { authorizationServer: server } = introspection;
    const endpoint = endpointOf(introspection);
    try {
      const result = await endpoint.queue.run({ caller: subject.digest, peer }, () =>
        ask(subject, rules, server, endpoint),
      );
      observer.introspected(server.name, 'active');
      return result;
    } catch (error) {
      const isInactive = error instanceof CambistError && error.code === 'ERR_SUBJECT_TOKEN_INVALID';
      observer.introspected(server.name, isInactive ? 'refused' : 'failure');
      throw error;
    }
  }

  return {
    /**
     * Finds the endpoint, and reads the client credential.
     * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID, ERR_CREDENTIAL_UNAVAILABLE
     */
    async prepare(introspection: Introspection): Promise<void> {
      const { client, locate } = endpointOf(introspection);
      await client.prepare(await locate());
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
