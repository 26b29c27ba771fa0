import { X509Certificate } from 'node:crypto';
import type { Dispatcher } from 'undici';
import type { Clock } from '../clock/clock.ts';
import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Config } from '../config/config.ts';
import { signallingServers, usedServers, withIssuer } from '../config/used-servers.ts';
import { expiringCredentials } from '../observability/expiring-credentials.ts';
import type { TokenObserver } from '../observability/token-observer.ts';
import { readCredential } from '../secrets/credential.ts';
import { oncePer } from '../secrets/secret.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import { createBroker } from './broker.ts';
import { createTokenCache, type RouteCacheReport } from './cache.ts';
import type { LoadDiagnoses } from './diagnosis.ts';
import { createEndpointClaims } from './endpoint-claims.ts';
import { createExchange } from './exchange.ts';
import type { Introspector } from './introspection.ts';
import { createDpopProver } from './issued-token.ts';
import { createAssertions, createClientAssertions, createOwnTokens } from './own-tokens.ts';
import type { Revocations } from './revocations.ts';
import { issuerPeer, serverPeer } from './server-request.ts';
import type { SecondLevel } from './shared-token.ts';
import { createSubjectReader } from './subject.ts';
import { createSubjectSource } from './subject-source.ts';
import { createSubjectVerifier } from './subject-verifier.ts';
import { createTokenEndpoint, type TokenEndpoint, type TokenEndpointContext } from './token-endpoint.ts';
import type { Assertion } from './token-request.ts';
import { readClaims } from './token-text.ts';

interface TokenEndpointsContext extends Omit<TokenEndpointContext, 'claims'> {
  /** All servers of the config. */
  readonly servers: () => readonly AuthorizationServer[];
  /** Called for each server of the config at its first use: it counts as available until it fails. */
  readonly serverBegun: (name: string) => void;
}

/** The token endpoints of a config's servers. An unchanged server keeps its state over a reload. */
type TokenEndpoints = ReturnType<typeof createTokenEndpoints>;

/** @param dispatcher gives the connection pool of a server */
function createTokenEndpoints(
  dispatcher: (server: AuthorizationServer) => Dispatcher | Promise<Dispatcher>,
  { serverBegun, servers: configured, ...context }: TokenEndpointsContext,
) {
  const claims = createEndpointClaims(configured);
  let endpoints = new Map<string, TokenEndpoint>();
  /** A request that began before a reload may still use a previous server, whose availability no longer counts. */
  let served: ReadonlySet<string> = new Set();

  function create(server: AuthorizationServer, key: string): TokenEndpoint {
    if (served.has(key)) serverBegun(server.name);
    return createTokenEndpoint(server, () => dispatcher(server), {
      ...context,
      claims,
      observer: {
        ...context.observer,
        availabilityChanged(name, available) {
          if (served.has(key)) context.observer.availabilityChanged(name, available);
        },
      },
    });
  }

  return {
    of(server: AuthorizationServer): TokenEndpoint {
      const key = keyOf(server);
      const endpoint = endpoints.get(key) ?? create(server, key);
      endpoints.set(key, endpoint);
      return endpoint;
    },
    /** Drops all other servers. */
    serve(servers: Iterable<AuthorizationServer>): void {
      served = new Set([...servers].map(keyOf));
      endpoints = new Map([...endpoints].filter(([key]) => served.has(key)));
    },
  };
}

/** The config of a server as text. Cached, because each exchange needs it. */
const keyOf = oncePer((server: AuthorizationServer) => JSON.stringify(server));

/**
 * Reads the expiry of every credential in a config, in use or not. Unreadable credentials are left out: their users report
 * them.
 */
export async function readExpiries(config: Config, credentialRead: TokenObserver['credentialRead']): Promise<void> {
  await Promise.all(
    expiringCredentials(config).map(async ({ name, source, kind }) => {
      const content = await readCredential(source, name).catch(() => undefined);
      const seconds = content === undefined ? undefined : EXPIRY_SECONDS[kind](content.reveal());
      if (seconds !== undefined) credentialRead(name, seconds);
    }),
  );
}

function tokenExpiry(content: string): number | undefined {
  const exp: unknown = readClaims(content.trim())?.exp;
  return typeof exp === 'number' ? exp : undefined;
}

function certificateExpiry(content: string): number | undefined {
  try {
    return Date.parse(new X509Certificate(content).validTo) / 1000;
  } catch {
    return undefined;
  }
}

const EXPIRY_SECONDS = { token: tokenExpiry, certificate: certificateExpiry };

interface TokenServiceOptions {
  readonly dispatchers: Dispatchers;
  readonly clock: Clock;
  readonly observer: TokenObserver;
  /** Called for each authorization server at its first use: it counts as available until it fails. */
  readonly serverBegun: (name: string) => void;
  readonly diagnoses?: LoadDiagnoses | undefined;
  /** The level of the cache that replicas share. */
  readonly second?: SecondLevel | undefined;
  /** Exists with `signals` in the config. */
  readonly revocations?: Revocations | undefined;
}

/** Everything between a caller's token and an issued token, for the config in force. */
export type TokenService = ReturnType<typeof createTokenService>;

export function createTokenService(
  first: Config,
  { dispatchers, clock, observer, serverBegun, diagnoses, second, revocations }: TokenServiceOptions,
) {
  let config = first;
  const cache = createTokenCache(first.cache.maxEntries, clock, observer.tokenEvicted);
  /** The results of the first legs of chains. They never reach a backend, so they do not count as issued tokens. */
  const assertions = createTokenCache<Assertion>(first.cache.maxEntries, clock, () => {});
  const servers = () => config.authorizationServers;
  const forServer = (server: AuthorizationServer) => dispatchers.for(serverPeer(server));
  const dpop = createDpopProver(clock);
  const chainAssertions = createAssertions(assertions);
  const clientAssertions = createClientAssertions((server) => endpoints.of(server), chainAssertions);
  const endpoints: TokenEndpoints = createTokenEndpoints(forServer, {
    clock,
    dpop,
    clientAssertions,
    observer,
    maxAgeMs: () => config.cache.maxAgeMs,
    random: Math.random,
    serverBegun,
    diagnoses,
    servers,
  });
  /** A change of `signals` needs a restart. They are not in `neededServers`, because callers can be served without them. */
  const signalling = signallingServers(first);
  const serveEndpoints = (needed: Config) => endpoints.serve([...neededServers(needed), ...signalling]);
  serveEndpoints(first);
  let introspecting: Introspector | undefined;
  /** Loaded at first use, because most configs need no introspection. */
  async function introspector(): Promise<Introspector> {
    const parts = { dispatcher: forServer, clock, clientAssertions, observer, servers };
    introspecting ??= (await import('./introspection.ts')).createIntrospector(parts);
    return introspecting;
  }
  const verifier = createSubjectVerifier((rules) => dispatchers.for(issuerPeer(rules)), clock, introspector, diagnoses);
  const exchange = createExchange({
    endpoint: endpoints.of,
    assertions: chainAssertions,
    dpop,
    credentialRead: observer.credentialRead,
  });
  const reader = createSubjectReader();

  function readOwnExpiries(): void {
    const current = config;
    void readExpiries(current, (name, seconds) => {
      // After a reload the same name may belong to another file.
      if (config === current) observer.credentialRead(name, seconds);
    });
  }

  const { credentialRead } = observer;
  const broker = createBroker({ cache, exchange, clock, observer, second });
  revocations?.onRevoked((digests) => {
    broker.dropSubjects(digests);
    assertions.dropSubjects(digests);
    verifier.forget(digests);
  });
  return {
    broker,
    subjects: createSubjectSource({ reader, verifier, clock, credentialRead, revocations }),
    verifier,
    ownTokens: createOwnTokens(endpoints.of, chainAssertions),
    cacheSize: (): number => cache.size,
    cacheReport: (): Record<string, RouteCacheReport> => cache.report(),
    /** Discovers what the authorization server needs before its first exchange. */
    prepare: (server: AuthorizationServer): Promise<unknown> => endpoints.of(server).prepare(),
    /** Applies a config to the next requests. */
    serve(next: Config): void {
      const { maxEntries, maxAgeMs } = next.cache;
      for (const tokens of [cache, assertions]) {
        if (maxEntries !== config.cache.maxEntries) tokens.resize(maxEntries);
        if (maxAgeMs !== config.cache.maxAgeMs) tokens.limitAge(maxAgeMs);
      }
      config = next;
      serveEndpoints(next);
      readOwnExpiries();
    },
    /** Drops expired and idle tokens, and reads again when cambist's own credentials expire. */
    sweep(): void {
      cache.sweep();
      assertions.sweep();
      readOwnExpiries();
    },
  };
}

/** The authorization servers that some route of the main file uses, and those that teams may use, whatever their files say. */
export function neededServers({ routes, routesFrom, authorizationServers }: Config): Set<AuthorizationServer> {
  const granted = new Set(routesFrom.flatMap((team) => team.authorizationServers));
  return new Set([
    ...routes.filter(({ team }) => team === undefined).flatMap(({ credential }) => usedServers(credential)),
    ...authorizationServers.filter(({ name }) => granted.has(name)).flatMap(withIssuer),
  ]);
}
