import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Config } from '../config/config.ts';
import { introspectingServers, signallingServers, usedServers } from '../config/used-servers.ts';
import { add, createHistogram, entry, expect, type Histogram, observe, type Tally } from './counters.ts';
import { EXCHANGE_RESULTS, OF_SIGNALS } from './expected.ts';
import { expiringCredentials } from './expiring-credentials.ts';
import type { RouteCounts } from './route-counts.ts';
import {
  EVICTION_REASONS,
  type EvictionReason,
  INTROSPECTION_RESULTS,
  type IntrospectionResult,
  type TokenObserver,
} from './token-observer.ts';

type Named = Pick<AuthorizationServer, 'name'>;

const EXCHANGE_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/**
 * Counts token requests and cached tokens, and keeps the state of authorization servers and of credentials.
 * @param route returns the counts of a route, which include its exchanges and cache lookups
 */
export function createTokenCounts(route: (name: string) => RouteCounts) {
  /** Seconds per token request, by authorization server. */
  const exchangeDurations = new Map<string, Histogram>();
  const evictions: Tally<EvictionReason> = expect({}, EVICTION_REASONS);
  const introspections = new Map<string, Tally<IntrospectionResult>>();
  const available = new Map<string, boolean>();
  /** Expiry of the credentials of cambist, in epoch seconds. */
  const credentials = new Map<string, number>();
  let namedCredentials: ReadonlySet<string> = new Set();
  /** A change of `signals` needs a restart, so these are the servers of the first config. */
  let signalling: readonly Named[] | undefined;

  const tally = <Name extends string>(map: Map<string, Tally<Name>>, key: string) => entry(map, key, () => ({}));
  const durationsOf = (server: string): Histogram =>
    entry(exchangeDurations, server, () => createHistogram(EXCHANGE_BOUNDS));

  /** @returns the names of the servers */
  function expectExchanges(name: string, servers: readonly Named[]): readonly string[] {
    for (const { name: server } of servers) {
      expect(tally(route(name).exchanges, server), EXCHANGE_RESULTS);
      durationsOf(server);
    }
    return servers.map((server) => server.name);
  }

  return {
    counts: { exchangeDurations, evictions, introspections, available, credentials },
    /** Adds everything that can occur under a config, and forgets servers and credentials that it does not have. */
    serve(config: Config): void {
      const used = config.routes.flatMap(({ name, credential }) => expectExchanges(name, usedServers(credential)));
      for (const { name } of introspectingServers(config)) expect(tally(introspections, name), INTROSPECTION_RESULTS);
      signalling ??= signallingServers(config).map(({ name }) => ({ name }));
      const asked = new Set([...used, ...expectExchanges(OF_SIGNALS, signalling)]);
      for (const name of available.keys()) if (!asked.has(name)) available.delete(name);
      for (const name of asked) entry(available, name, () => true);
      // The credentials of the new config report their expiry again when they are read.
      credentials.clear();
      namedCredentials = new Set(expiringCredentials(config).map(({ name }) => name));
    },
    observer: {
      cacheLookedUp: (name, result) => add(route(name).cache, result),
      exchangeFinished({ route: name, authorizationServer, error, durationMs }) {
        add(tally(route(name).exchanges, authorizationServer), error?.code ?? '');
        observe(durationsOf(authorizationServer), durationMs / 1000);
      },
      introspected: (server, result) => add(tally(introspections, server), result),
      tokenEvicted: (reason) => add(evictions, reason),
      availabilityChanged: (server, isUp) => void available.set(server, isUp),
      credentialRead(credential, endsAtSeconds) {
        // A request from before a reload may read a credential that the config no longer names.
        if (namedCredentials.has(credential)) credentials.set(credential, endsAtSeconds);
      },
    } satisfies TokenObserver,
  };
}
