import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { assertionFrom } from '../config/used-servers.ts';
import type { Introspection, SubjectVerification } from '../config/verification.ts';
import { CambistError } from '../errors.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { boundedRequest, type RequestUrl } from './bounded-request.ts';
import { authenticateClient } from './client-auth.ts';
import { discoverIntrospection } from './discovery.ts';
import { createEndpointClaims } from './endpoint-claims.ts';
import { createEndpointLocator } from './endpoint-locator.ts';
import { createExchangeQueue, type ExchangeQueue } from './exchange-queue.ts';
import type { FormField } from './form-encoding.ts';
import { failedRequest, formRequest } from './form-request.ts';
import { type Introspected, processIntrospection } from './introspection-response.ts';
import type { Subject } from './subject.ts';
import type { ClientAssertions } from './token-endpoint.ts';

/** Asks authorization servers about subject tokens. */
export interface Introspector {
  /**
   * Finds the endpoint, and reads the client credential.
   * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID, ERR_CREDENTIAL_UNAVAILABLE
   */
  prepare(introspection: Introspection): Promise<void>;
  /**
   * Asks about a token. Concurrent callers with the same token and rules share one request.
   * @param peer address that the caller connects from
   * @throws {CambistError} the codes of `prepare` and of `processIntrospection`
   */
  introspect(
    subject: Subject,
    rules: SubjectVerification,
    introspection: Introspection,
    peer: string | undefined,
  ): Promise<Introspected>;
}

export interface IntrospectorOptions {
  /** Gives the connection pool of a server. */
  readonly dispatcher: (server: AuthorizationServer) => Dispatcher | Promise<Dispatcher>;
  readonly clock: Clock;
  readonly clientAssertions: ClientAssertions;
  readonly observer: Pick<TokenObserver, 'credentialRead' | 'introspected'>;
  /** All servers of the config. */
  readonly servers: () => readonly AuthorizationServer[];
}

/** One introspection endpoint, with the requests that wait for it. */
interface Endpoint {
  readonly queue: ExchangeQueue;
  readonly locate: () => RequestUrl | Promise<RequestUrl>;
}

export function createIntrospector(options: IntrospectorOptions): Introspector {
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
        configured: endpoint,
        dispatcher,
        async discover(pool, untilMs) {
          const found = await discoverIntrospection(server, server.issuer ?? '', pool, untilMs);
          return { endpoint: found, claimed: [found] };
        },
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
    async prepare(introspection) {
      const { authorizationServer: server } = introspection;
      const url = await endpointOf(introspection).locate();
      const from = assertionFrom(server);
      if (from === undefined)
        await authenticateClient(server, server.issuer ?? url.text, clock, observer.credentialRead);
      else await clientAssertions.prepare(from);
      await dispatcher(server);
    },
    introspect(subject, rules, introspection, peer) {
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
