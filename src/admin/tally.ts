import type { ProxyObserver } from '../proxy/observer.ts';
import type { TokenObserver } from '../tokens/observer.ts';
import { createRecentFailures, type RecentFailures } from './recent-failures.ts';

/** What became of the requests on a route since the process began. */
export interface RouteTally {
  requests: number;
  /** Answers of our own that are errors. */
  failures: number;
  /** Answers of the backend's own that are 5xx. */
  backendErrors: number;
  inFlight: number;
  openStreams: number;
  /** How many found a token in the cache or on its way, of those that wanted one. */
  served: number;
  wanted: number;
}

/** What became of the token requests to an authorization server since the process began. */
export interface ServerTally {
  exchanges: number;
  failures: number;
  totalMs: number;
  available: boolean;
}

/**
 * The figures of the status page. They are those of the metrics, kept once more so that looking at the page costs nothing
 * where there are a thousand routes.
 */
export interface Tally {
  readonly proxy: ProxyObserver;
  readonly tokens: TokenObserver;
  readonly failures: RecentFailures;
  route(name: string): Readonly<RouteTally>;
  /** Of requests that no route took. */
  unmatched(): Readonly<RouteTally>;
  server(name: string): Readonly<ServerTally>;
  /** When credentials of ours end, in epoch seconds. */
  credentials(): ReadonlyMap<string, number>;
  /** Forgets the credentials, which are about to be read anew. */
  forgetCredentials(): void;
}

/** No route can have this name. */
const UNMATCHED = '';

export function createTally(nowMs: () => number): Tally {
  const routes = new Map<string, RouteTally>();
  const servers = new Map<string, ServerTally>();
  const credentials = new Map<string, number>();
  const failures = createRecentFailures(nowMs);

  function ofRoute(name: string): RouteTally {
    let tally = routes.get(name);
    if (tally === undefined) {
      tally = { requests: 0, failures: 0, backendErrors: 0, inFlight: 0, openStreams: 0, served: 0, wanted: 0 };
      routes.set(name, tally);
    }
    return tally;
  }

  function ofServer(name: string): ServerTally {
    let tally = servers.get(name);
    if (tally === undefined) {
      tally = { exchanges: 0, failures: 0, totalMs: 0, available: true };
      servers.set(name, tally);
    }
    return tally;
  }

  return {
    failures,
    route: ofRoute,
    unmatched: () => ofRoute(UNMATCHED),
    server: ofServer,
    credentials: () => credentials,
    forgetCredentials: () => credentials.clear(),
    proxy: {
      requestRouted(route) {
        ofRoute(route.name).inFlight += 1;
      },
      requestAnswered(route, { status, outcome, error }) {
        const tally = ofRoute(route?.name ?? UNMATCHED);
        tally.requests += 1;
        if (outcome === 'forwarded' && status >= 500) tally.backendErrors += 1;
        if (error === undefined) return;
        tally.failures += 1;
        failures.note(route?.name, error);
      },
      requestEnded(route) {
        ofRoute(route.name).inFlight -= 1;
      },
      requestCut() {
        // It is a metric.
      },
      streamOpened(route) {
        ofRoute(route.name).openStreams += 1;
      },
      streamClosed(route) {
        ofRoute(route.name).openStreams -= 1;
      },
      upstreamRetried() {
        // It is a metric; the page shows what became of the request.
      },
      tunnelOpened() {
        // It is a metric.
      },
      tunnelClosed() {
        // It is a metric.
      },
    },
    tokens: {
      cacheAnswered(route, result) {
        if (result === 'bypass') return;
        const tally = ofRoute(route);
        tally.wanted += 1;
        if (result === 'hit' || result === 'joined') tally.served += 1;
      },
      exchangeEnded({ authorizationServer, error, durationMs }) {
        const tally = ofServer(authorizationServer);
        tally.exchanges += 1;
        tally.totalMs += durationMs;
        if (error !== undefined) tally.failures += 1;
      },
      tokenEvicted() {
        // It is a metric.
      },
      availabilityChanged(authorizationServer, available) {
        ofServer(authorizationServer).available = available;
      },
      credentialRead(credential, expiresAtSeconds) {
        credentials.set(credential, expiresAtSeconds);
      },
    },
  };
}
