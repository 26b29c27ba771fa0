import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import { CambistError } from '../errors.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { createTokenCache } from '../tokens/cache.ts';
import type { FailedTokenRequest } from '../tokens/diagnosis.ts';
import { createEndpointClaims } from '../tokens/endpoint-claims.ts';
import { createExchange } from '../tokens/exchange.ts';
import { createIntrospector } from '../tokens/introspection.ts';
import { createDpopProver } from '../tokens/issued-token.ts';
import { type Assertions, createAssertions, createClientAssertions } from '../tokens/own-tokens.ts';
import { issuerPeer, serverPeer } from '../tokens/server-request.ts';
import { createSubjectReader } from '../tokens/subject.ts';
import { createSubjectSource } from '../tokens/subject-source.ts';
import { createSubjectVerifier } from '../tokens/subject-verifier.ts';
import { createTokenEndpoint, type TokenEndpoint, type TokenEndpointContext } from '../tokens/token-endpoint.ts';
import type { Assertion } from '../tokens/token-request.ts';
import type { PeerOptions } from '../transport/dispatchers.ts';
import { type RecordedRequest, recordRequests } from './recorded-request.ts';

/** Returns the connection pool for a peer, the same as in the running proxy. */
export type Pool = (peer: PeerOptions) => Dispatcher | Promise<Dispatcher>;

/** The proxy's own parts for exchanges, with their requests recorded. */
export type CheckContext = ReturnType<typeof createCheckContext>;

const NO_OBSERVER: TokenObserver = {
  cacheLookedUp() {},
  exchangeFinished() {},
  tokenEvicted() {},
  availabilityChanged() {},
  credentialRead() {},
  introspected() {},
};

/** @param servers all servers of the config; the metadata of one must not lead to another */
export function createCheckContext(pool: Pool, servers: readonly AuthorizationServer[], clock: Clock) {
  let seen: Evidence = { requests: [], refused: undefined };
  const dpop = createDpopProver(clock);
  const claims = createEndpointClaims(() => servers);
  const context: TokenEndpointContext = {
    clock,
    dpop,
    claims,
    clientAssertions: createClientAssertions((server) => endpoint(server), assertionsOfOne(clock)),
    observer: NO_OBSERVER,
    maxAgeMs: () => Number.POSITIVE_INFINITY,
    random: () => 0,
    diagnoses: async () => ({
      tokenRequest(refused) {
        seen.refused = refused;
        return undefined;
      },
      discovery: () => undefined,
      verification: () => undefined,
    }),
  };
  const endpoints = new Map<AuthorizationServer, TokenEndpoint>();

  async function recordedPool(peer: PeerOptions): Promise<Dispatcher> {
    return recordRequests(await pool(peer), (request) => seen.requests.push(request), clock.wallMs);
  }

  function endpoint(server: AuthorizationServer): TokenEndpoint {
    let known = endpoints.get(server);
    if (known === undefined) {
      known = createTokenEndpoint(server, () => recordedPool(serverPeer(server)), context);
      endpoints.set(server, known);
    }
    return known;
  }

  const exchange = createExchange({
    endpoint,
    assertions: assertionsOfOne(clock),
    dpop,
    credentialRead: NO_OBSERVER.credentialRead,
  });
  const introspector = createIntrospector({
    dispatcher: (server) => recordedPool(serverPeer(server)),
    clock,
    clientAssertions: context.clientAssertions,
    observer: NO_OBSERVER,
    servers: () => servers,
  });
  const verifier = createSubjectVerifier(
    (rules) => recordedPool(issuerPeer(rules)),
    clock,
    async () => introspector,
  );
  const subjects = createSubjectSource({
    reader: createSubjectReader(),
    verifier,
    clock,
    credentialRead: NO_OBSERVER.credentialRead,
  });

  /** Runs parts of the proxy, one after the other. */
  async function attempt<T>(work: () => Promise<T>): Promise<Attempt<T>> {
    seen = { requests: [], refused: undefined };
    return { ...(await caught(work)), ...seen };
  }

  return { attempt, clock, pool, endpoint, exchange, subjects, verifier };
}

interface Evidence {
  readonly requests: RecordedRequest[];
  /** The last token request that produced no token. */
  refused: FailedTokenRequest | undefined;
}

interface Result<T> {
  readonly value?: T;
  readonly failure?: CambistError;
}

/** A result or an error, and how it came about. */
export type Attempt<T> = Result<T> & Evidence;

/** Returns a CambistError that `work` throws. Any other error is a bug and is thrown on. */
export async function caught<T>(work: () => Promise<T>): Promise<Result<T>> {
  try {
    return { value: await work() };
  } catch (error) {
    if (!(error instanceof CambistError)) throw error;
    return { failure: error };
  }
}

/** One entry at most: each route must request its own assertion. */
export function assertionsOfOne(clock: Clock): Assertions {
  return createAssertions(createTokenCache<Assertion>(1, clock, () => {}));
}
