import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Config, Route } from '../config/config.ts';
import { ERROR_CODES, type ErrorCode } from '../errors.ts';
import type { ProxyObserver } from '../proxy/observer.ts';
import { CACHE_RESULTS, EVICTION_REASONS, type TokenObserver } from '../tokens/observer.ts';

/** Everything that cambist counts, and the two observers that the rooms before this one ask for. */
export interface Metrics {
  readonly registry: Registry;
  readonly proxy: ProxyObserver;
  readonly tokens: TokenObserver;
  /** Makes the series of a config's routes present, at 0. Those of routes that are gone stay: a counter never goes back. */
  serve(config: Config): void;
  reloaded(result: 'success' | 'failure'): void;
}

/** From a cached answer on loopback to a long tool call. */
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const EXCHANGE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** The route label where no route matched: no route can have this name. */
const UNMATCHED = '_unmatched';

/** Methods by name; any other is counted as one, since a caller could make up as many as it likes. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

/** Node's gauges that `promtool check metrics` complains of: a gauge whose name ends like a counter's. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** What an exchange may end with; the first is a token. */
const EXCHANGE_ERRORS: readonly ErrorCode[] = ERROR_CODES.filter((code) =>
  /_STS_|_SUBJECT_TOKEN_INVALID|_INTERACTION_|_EXCHANGE_|_CLIENT_|_ISSUED_|_CREDENTIAL_/.test(code),
);

/** Answers that every route should expect, so that a rate can be taken from the start. */
const EXPECTED_ANSWERS = [
  ['200', 'forwarded'],
  ['401', 'refused'],
  ['403', 'refused'],
  ['502', 'failed'],
  ['503', 'failed'],
  ['504', 'failed'],
] as const;

/** @param cacheSize asked at each scrape */
export function createMetrics(version: string, cacheSize: () => number): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  const registers = [registry];

  const requests = new Counter({
    name: 'cambist_requests_total',
    help: 'Requests answered, by route, method, HTTP status and outcome.',
    labelNames: ['route', 'method', 'code', 'outcome'],
    registers,
  });
  const duration = new Histogram({
    name: 'cambist_request_duration_seconds',
    help: 'Time from the arrival of a request to the headers of its answer.',
    labelNames: ['route'],
    buckets: REQUEST_BUCKETS,
    registers,
  });
  const inFlight = new Gauge({
    name: 'cambist_requests_in_flight',
    help: 'Requests under way, open streams included.',
    labelNames: ['route'],
    registers,
  });
  const streams = new Gauge({
    name: 'cambist_open_streams',
    help: 'Streams of server-sent events that are open.',
    labelNames: ['route'],
    registers,
  });
  const exchanges = new Counter({
    name: 'cambist_exchanges_total',
    help: 'Token requests to authorization servers, by how they ended.',
    labelNames: ['route', 'authorization_server', 'result', 'error'],
    registers,
  });
  const exchangeDuration = new Histogram({
    name: 'cambist_exchange_duration_seconds',
    help: 'Time that token requests took.',
    labelNames: ['authorization_server'],
    buckets: EXCHANGE_BUCKETS,
    registers,
  });
  const cacheRequests = new Counter({
    name: 'cambist_cache_requests_total',
    help: 'How the token cache answered requests.',
    labelNames: ['route', 'result'],
    registers,
  });
  new Gauge({
    name: 'cambist_cache_entries',
    help: 'Issued tokens in the cache.',
    registers,
    collect() {
      this.set(cacheSize());
    },
  });
  const evictions = new Counter({
    name: 'cambist_cache_evictions_total',
    help: 'Issued tokens that left the cache, by reason.',
    labelNames: ['reason'],
    registers,
  });
  for (const reason of EVICTION_REASONS) evictions.inc({ reason }, 0);
  const retries = new Counter({
    name: 'cambist_upstream_retries_total',
    help: 'Requests sent a second time with a new token, after an upstream said 401.',
    labelNames: ['route'],
    registers,
  });
  const reloads = new Counter({
    name: 'cambist_config_reloads_total',
    help: 'Attempts to reload the config, by result.',
    labelNames: ['result'],
    registers,
  });
  for (const result of ['success', 'failure']) reloads.inc({ result }, 0);
  const reloadSuccessful = new Gauge({
    name: 'cambist_config_last_reload_successful',
    help: 'Is the config that is served the newest one? 1 or 0.',
    registers,
  });
  const reloadTime = new Gauge({
    name: 'cambist_config_last_reload_success_timestamp_seconds',
    help: 'When the config that is served was loaded.',
    registers,
  });
  const credentialExpiry = new Gauge({
    name: 'cambist_credential_expiry_timestamp_seconds',
    help: 'When a credential of cambist itself ends, where it says so.',
    labelNames: ['credential'],
    registers,
  });
  new Gauge({
    name: 'cambist_build_info',
    help: 'Always 1; the labels tell what is running.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1);

  function present(route: Route): void {
    const { name, credential } = route;
    for (const [code, outcome] of EXPECTED_ANSWERS) requests.inc({ route: name, method: 'POST', code, outcome }, 0);
    duration.zero({ route: name });
    inFlight.inc({ route: name }, 0);
    streams.inc({ route: name }, 0);
    for (const result of CACHE_RESULTS) cacheRequests.inc({ route: name, result }, 0);
    retries.inc({ route: name }, 0);
    if (credential.kind !== 'exchange' && credential.kind !== 'client_credentials') return;
    const server = credential.authorizationServer.name;
    exchanges.inc({ route: name, authorization_server: server, result: 'success', error: '' }, 0);
    for (const error of EXCHANGE_ERRORS) {
      exchanges.inc({ route: name, authorization_server: server, result: 'failure', error }, 0);
    }
    exchangeDuration.zero({ authorization_server: server });
  }

  return {
    registry,
    serve(config) {
      for (const route of config.routes) present(route);
      requests.inc({ route: UNMATCHED, method: 'POST', code: '403', outcome: 'refused' }, 0);
      reloadSuccessful.set(1);
      reloadTime.set(Date.now() / 1000);
    },
    reloaded(result) {
      reloads.inc({ result });
      if (result === 'failure') reloadSuccessful.set(0);
    },
    proxy: {
      requestRouted: (route) => inFlight.inc({ route: route.name }),
      requestAnswered(route, { method, status, outcome, durationMs }) {
        const label = route?.name ?? UNMATCHED;
        requests.inc({ route: label, method: METHODS.has(method) ? method : 'other', code: String(status), outcome });
        duration.observe({ route: label }, durationMs / 1000);
      },
      requestEnded: (route) => inFlight.dec({ route: route.name }),
      streamOpened: (route) => streams.inc({ route: route.name }),
      streamClosed: (route) => streams.dec({ route: route.name }),
      upstreamRetried: (route) => retries.inc({ route: route.name }),
    },
    tokens: {
      cacheAnswered: (route, result) => cacheRequests.inc({ route, result }),
      exchangeEnded({ route, authorizationServer, error, durationMs }) {
        const result = error === undefined ? 'success' : 'failure';
        exchanges.inc({ route, authorization_server: authorizationServer, result, error: error?.code ?? '' });
        exchangeDuration.observe({ authorization_server: authorizationServer }, durationMs / 1000);
      },
      tokenEvicted: (reason) => evictions.inc({ reason }),
      credentialRead: (credential, expiresAtSeconds) => credentialExpiry.set({ credential }, expiresAtSeconds),
    },
  };
}
