import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { EVICTION_REASONS } from '../tokens/observer.ts';
import type { ReadinessReport } from './readiness.ts';

/** What is asked at each scrape, since it is known elsewhere. */
export interface MetricSources {
  readonly cacheEntries: () => number;
  readonly cacheMaxEntries: () => number;
  readonly readiness: () => ReadinessReport;
}

interface InstrumentOptions extends MetricSources {
  /** Counts what was not counted yet. */
  readonly beforeScrape: () => void;
}

export type Instruments = ReturnType<typeof createInstruments>;

/** From a cached answer on loopback to a long tool call. */
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];
const EXCHANGE_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** All that cambist counts, registered. Every name and label here is a promise to users. */
export function createInstruments(registry: Registry, version: string, sources: InstrumentOptions) {
  const instruments = {
    ...trafficInstruments([registry], sources),
    ...tokenInstruments([registry], sources),
    ...ownInstruments([registry], sources),
  };
  new Gauge({
    name: 'cambist_build_info',
    help: 'Always 1; the labels tell what is running.',
    labelNames: ['version'],
    registers: [registry],
  }).set({ version }, 1);
  return instruments;
}

function trafficInstruments(registers: Registry[], { beforeScrape }: InstrumentOptions) {
  return {
    requests: new Counter({
      name: 'cambist_requests_total',
      help: 'Requests answered, by route, method, HTTP status and outcome.',
      labelNames: ['route', 'method', 'code', 'outcome'],
      registers,
      // The first of all that is counted so.
      collect: beforeScrape,
    }),
    failures: new Counter({
      name: 'cambist_failures_total',
      help: 'Requests that cambist answered with an error of its own, by route and error code.',
      labelNames: ['route', 'error'],
      registers,
    }),
    duration: new Histogram({
      name: 'cambist_request_duration_seconds',
      help: 'Time from the arrival of a request to the headers of its answer.',
      labelNames: ['route'],
      buckets: REQUEST_BUCKETS,
      registers,
    }),
    inFlight: new Gauge({
      name: 'cambist_requests_in_flight',
      help: 'Requests under way, open streams included.',
      labelNames: ['route'],
      registers,
    }),
    streams: new Gauge({
      name: 'cambist_open_streams',
      help: 'Streams of server-sent events and WebSockets that are open.',
      labelNames: ['route'],
      registers,
    }),
    cuts: new Counter({
      name: 'cambist_requests_cut_total',
      help: 'Requests whose answer was not whole when they ended, by who ended them.',
      labelNames: ['route', 'cut_by'],
      registers,
    }),
    retries: new Counter({
      name: 'cambist_upstream_retries_total',
      help: 'Requests sent a second time with another token, after an upstream said 401 or wanted a scope.',
      labelNames: ['route'],
      registers,
    }),
    tunnels: new Counter({
      name: 'cambist_tunnels_total',
      help: 'Tunnels that were opened to authorities of forward_proxy.connect.',
      labelNames: ['authority'],
      registers,
    }),
    openTunnels: new Gauge({
      name: 'cambist_open_tunnels',
      help: 'Tunnels that are open.',
      labelNames: ['authority'],
      registers,
    }),
  };
}

function tokenInstruments(registers: Registry[], { cacheEntries, cacheMaxEntries }: MetricSources) {
  new Gauge({
    name: 'cambist_cache_entries',
    help: 'Issued tokens in the cache.',
    registers,
    collect() {
      this.set(cacheEntries());
    },
  });
  new Gauge({
    name: 'cambist_cache_max_entries',
    help: 'Most issued tokens that the cache may hold.',
    registers,
    collect() {
      this.set(cacheMaxEntries());
    },
  });
  const evictions = new Counter({
    name: 'cambist_cache_evictions_total',
    help: 'Issued tokens that left the cache, by reason.',
    labelNames: ['reason'],
    registers,
  });
  for (const reason of EVICTION_REASONS) evictions.inc({ reason }, 0);
  return {
    evictions,
    exchanges: new Counter({
      name: 'cambist_exchanges_total',
      help: 'Token requests to authorization servers, by how they ended.',
      labelNames: ['route', 'authorization_server', 'result', 'error'],
      registers,
    }),
    exchangeDuration: new Histogram({
      name: 'cambist_exchange_duration_seconds',
      help: 'Time that token requests took.',
      labelNames: ['authorization_server'],
      buckets: EXCHANGE_BUCKETS,
      registers,
    }),
    available: new Gauge({
      name: 'cambist_authorization_server_available',
      help: 'Did the authorization server answer when it was last asked? 0 while it is taken to be down, else 1.',
      labelNames: ['authorization_server'],
      registers,
    }),
    cacheRequests: new Counter({
      name: 'cambist_cache_requests_total',
      help: 'How the token cache answered requests.',
      labelNames: ['route', 'result'],
      registers,
    }),
    credentialExpiry: new Gauge({
      name: 'cambist_credential_expiry_timestamp_seconds',
      help: 'When a credential of cambist itself ends, where it says so.',
      labelNames: ['credential'],
      registers,
    }),
  };
}

function ownInstruments(registers: Registry[], { readiness }: MetricSources) {
  new Gauge({
    name: 'cambist_ready',
    help: 'Has all that the config needs been found once, and is cambist not shutting down? 1 or 0, as /readyz says.',
    registers,
    collect() {
      this.set(readiness().ready ? 1 : 0);
    },
  });
  new Gauge({
    name: 'cambist_need_ready',
    help: 'Has this part of what the config needs been found once? 1 or 0.',
    labelNames: ['need'],
    registers,
    collect() {
      this.reset();
      for (const [need, status] of Object.entries(readiness().needs)) this.set({ need }, status === 'ready' ? 1 : 0);
    },
  });
  const reloads = new Counter({
    name: 'cambist_config_reloads_total',
    help: 'Attempts to reload the config, by result.',
    labelNames: ['result'],
    registers,
  });
  for (const result of ['success', 'failure']) reloads.inc({ result }, 0);
  return {
    reloads,
    reloadSuccessful: new Gauge({
      name: 'cambist_config_last_reload_successful',
      help: 'Is the config that is served the newest one? 1 or 0.',
      registers,
    }),
    reloadTime: new Gauge({
      name: 'cambist_config_last_reload_success_timestamp_seconds',
      help: 'When the config that is served was loaded.',
      registers,
    }),
  };
}
