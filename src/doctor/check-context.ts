import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { createTokenCache } from '../tokens/cache.ts';
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
  const requests: RecordedRequest[] = [];
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
  };
  const endpoints = new Map<AuthorizationServer, TokenEndpoint>();

  async function recordedPool(peer: PeerOptions): Promise<Dispatcher> {
    return recordRequests(await pool(peer), requests, clock.wallMs);
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
  return { requests, clock, pool, endpoint, exchange, subjects, verifier };
}

/** One entry at most: each route must request its own assertion. */
export function assertionsOfOne(clock: Clock): Assertions {
  return createAssertions(createTokenCache<Assertion>(1, clock, () => {}));
}
