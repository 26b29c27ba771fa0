import { STATUS_CODES } from 'node:http';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { serverNames } from '../config/asked-servers.ts';
import type { Config, Route } from '../config/config.ts';
import { ERROR_CODES, type ErrorCode } from '../errors.ts';
import { CALLER_GONE, CUTTERS, type ProxyObserver } from '../proxy/observer.ts';
import { CACHE_RESULTS, type TokenObserver } from '../tokens/observer.ts';
import { createBatch } from './batch.ts';
import { createInstruments, type MetricSources } from './instruments.ts';

/** Everything that cambist counts, and the two observers that the rooms before this one ask for. */
export interface Metrics {
  readonly registry: Registry;
  readonly proxy: ProxyObserver;
  readonly tokens: TokenObserver;
  /**
   * Makes the series of a config's routes and authorization servers present, counters at 0. Counters of routes that are
   * gone stay, since a counter never goes back; what is known of servers and credentials that are gone does not.
   */
  serve(config: Config): void;
  reloaded(result: 'success' | 'failure'): void;
}

/** The route label where no route matched: no route can have this name. */
const UNMATCHED = '_unmatched';

/** Methods by name; any other is counted as one, since a caller could make up as many as it likes. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT']);

/** Node's gauges that `promtool check metrics` complains of: a gauge whose name ends like a counter's. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** What an exchange may end with, beside a token. */
const EXCHANGE_ERRORS: readonly ErrorCode[] = ERROR_CODES.filter((code) =>
  /_STS_|_SUBJECT_TOKEN_INVALID|_INTERACTION_|_EXCHANGE_|_CLIENT_|_ISSUED_|_CREDENTIAL_/.test(code),
);

/** What a request may be answered with where no token is sent, or the caller's own. */
const PLAIN_ERRORS: readonly ErrorCode[] = ERROR_CODES.filter((code) =>
  /_SUBJECT_TOKEN_INVALID|_CREDENTIAL_|_UPSTREAM_(?!REFUSED)|_SHUTTING_|_OVERLOADED|_INTERNAL/.test(code),
);

/** What a request without a route may be answered with. */
const UNMATCHED_ERRORS: readonly ErrorCode[] = ['ERR_ROUTE_NOT_FOUND', 'ERR_SHUTTING_DOWN', 'ERR_OVERLOADED'];

/** Answers that every route should expect, so that a rate can be taken from the start. */
const EXPECTED_ANSWERS = [
  ['200', 'forwarded'],
  ['401', 'refused'],
  ['403', 'refused'],
  ['502', 'failed'],
  ['503', 'failed'],
  ['504', 'failed'],
] as const;

export function createMetrics(version: string, sources: MetricSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  /** What happens with each request, which counting at once would cost more than its admission. */
  const batch = createBatch();
  const of = createInstruments(registry, version, { ...sources, beforeScrape: batch.flush });
  let servers: ReadonlySet<string> = new Set();

  /** The routes and servers whose histograms have begun: to begin again would set them back, as no counter may be. */
  const timed = { routes: new Set<string>(), servers: new Set<string>() };

  function present({ name, credential }: Route): void {
    for (const [code, outcome] of EXPECTED_ANSWERS) of.requests.inc({ route: name, method: 'POST', code, outcome }, 0);
    if (!timed.routes.has(name)) of.duration.zero({ route: name });
    timed.routes.add(name);
    of.inFlight.inc({ route: name }, 0);
    of.streams.inc({ route: name }, 0);
    for (const by of CUTTERS) of.cuts.inc({ route: name, cut_by: by }, 0);
    for (const result of CACHE_RESULTS) of.cacheRequests.inc({ route: name, result }, 0);
    of.retries.inc({ route: name }, 0);
    const asked = serverNames(credential);
    for (const error of asked.length === 0 ? PLAIN_ERRORS : ERROR_CODES) of.failures.inc({ route: name, error }, 0);
    for (const server of asked) {
      of.exchanges.inc({ route: name, authorization_server: server, result: 'success', error: '' }, 0);
      for (const error of EXCHANGE_ERRORS) {
        of.exchanges.inc({ route: name, authorization_server: server, result: 'failure', error }, 0);
      }
      if (!timed.servers.has(server)) of.exchangeDuration.zero({ authorization_server: server });
      timed.servers.add(server);
    }
  }

  return {
    registry,
    serve(config) {
      for (const route of config.routes) present(route);
      for (const authority of config.forwardProxy.connect) {
        of.tunnels.inc({ authority }, 0);
        of.openTunnels.inc({ authority }, 0);
      }
      of.requests.inc({ route: UNMATCHED, method: 'POST', code: '403', outcome: 'refused' }, 0);
      for (const error of UNMATCHED_ERRORS) of.failures.inc({ route: UNMATCHED, error }, 0);
      const asked = new Set(config.routes.flatMap(({ credential }) => serverNames(credential)));
      for (const name of servers) if (!asked.has(name)) of.available.remove({ authorization_server: name });
      for (const name of asked) if (!servers.has(name)) of.available.set({ authorization_server: name }, 1);
      servers = asked;
      // What is still named is read anew, and says again when it ends.
      of.credentialExpiry.reset();
      of.reloadSuccessful.set(1);
      of.reloadTime.set(Date.now() / 1000);
    },
    reloaded(result) {
      of.reloads.inc({ result });
      if (result === 'failure') of.reloadSuccessful.set(0);
    },
    proxy: {
      requestRouted: (route) => batch.add(() => of.inFlight.inc({ route: route.name })),
      requestAnswered(route, { method, status, outcome, error, durationMs }) {
        const label = route?.name ?? UNMATCHED;
        const known = METHODS.has(method) ? method : 'other';
        batch.add(() => {
          of.requests.inc({ route: label, method: known, code: codeLabel(status), outcome });
          if (error !== undefined) of.failures.inc({ route: label, error });
          of.duration.observe({ route: label }, durationMs / 1000);
        });
      },
      requestEnded: (route) => batch.add(() => of.inFlight.dec({ route: route.name })),
      requestCut: (route, by) => of.cuts.inc({ route: route.name, cut_by: by }),
      streamOpened: (route) => of.streams.inc({ route: route.name }),
      streamClosed: (route) => of.streams.dec({ route: route.name }),
      upstreamRetried: (route) => of.retries.inc({ route: route.name }),
      tunnelOpened(authority) {
        of.tunnels.inc({ authority });
        of.openTunnels.inc({ authority });
      },
      tunnelClosed: (authority) => of.openTunnels.dec({ authority }),
    },
    tokens: {
      cacheAnswered: (route, result) => batch.add(() => of.cacheRequests.inc({ route, result })),
      exchangeEnded({ route, authorizationServer, error, durationMs }) {
        const result = error === undefined ? 'success' : 'failure';
        of.exchanges.inc({ route, authorization_server: authorizationServer, result, error: error?.code ?? '' });
        of.exchangeDuration.observe({ authorization_server: authorizationServer }, durationMs / 1000);
      },
      tokenEvicted: (reason) => of.evictions.inc({ reason }),
      availabilityChanged: (authorizationServer, available) =>
        of.available.set({ authorization_server: authorizationServer }, available ? 1 : 0),
      credentialRead: (credential, expiresAtSeconds) => of.credentialExpiry.set({ credential }, expiresAtSeconds),
    },
  };
}

/** An upstream may answer with any number; only those that have a meaning are labels of their own. */
function codeLabel(status: number): string {
  return status === CALLER_GONE || STATUS_CODES[status] !== undefined ? String(status) : 'other';
}
