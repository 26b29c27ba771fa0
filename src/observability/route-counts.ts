import { STATUS_CODES } from 'node:http';
import type { Route } from '../config/route.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import { add, createHistogram, expect, type Histogram, observe, type Tally, total } from './counters.ts';
import type { ExchangeResult } from './expected.ts';
import {
  ABORTED_BY,
  type AbortedBy,
  CALLER_GONE,
  type Outcome,
  type StartedResponse,
  WAYS_IN,
  type WayIn,
} from './proxy-observer.ts';
import type { RecentFailures } from './recent-failures.ts';
import { CACHE_RESULTS, type CacheResult } from './token-observer.ts';

/** Counts of the requests of one route since the process started. */
export interface RouteCounts {
  readonly route: string;
  inFlight: number;
  openStreams: number;
  /** Responses of the backend with 5xx. Counted separately, because their `code` may be `other`. */
  backendErrors: number;
  /** In the order of their first occurrence, so that frequent ones come early. */
  readonly responses: ResponseCount[];
  /** Seconds from the arrival of a request to its response headers. */
  readonly durations: Histogram;
  readonly failures: Tally<ErrorCode>;
  readonly arrivals: Tally<WayIn>;
  readonly aborted: Tally<AbortedBy>;
  retries: number;
  readonly cache: Tally<CacheResult>;
  /** Requests without a caller's token that ran with a token of cambist itself. Undefined on routes that need a caller's token. */
  ownTokens: number | undefined;
  /** Token requests by authorization server and result. */
  readonly exchanges: Map<string, Tally<ExchangeResult>>;
  /** Responses by name of the agent. Empty without `agents` in the config. */
  readonly agents: Map<string, AgentCounts>;
}

/** Responses of one route to one agent. */
export interface AgentCounts {
  /** Responses by class of the status, as in `2xx`. */
  readonly classes: Tally<string>;
  /** Responses with 401. */
  unauthorized: number;
  /** Responses with 403. */
  forbidden: number;
}

interface ResponseCount {
  readonly method: string;
  readonly code: number | 'other';
  readonly outcome: Outcome;
  count: number;
}

/** From a cached call on loopback to a long tool call. */
const DURATION_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function createRouteCounts(route: string): RouteCounts {
  return {
    route,
    inFlight: 0,
    openStreams: 0,
    backendErrors: 0,
    responses: [],
    durations: createHistogram(DURATION_BOUNDS),
    failures: {},
    arrivals: expect({}, WAYS_IN),
    aborted: expect({}, ABORTED_BY),
    retries: 0,
    cache: expect({}, CACHE_RESULTS),
    ownTokens: undefined,
    exchanges: new Map(),
    agents: new Map(),
  };
}

export function neededToken({ cache }: RouteCounts): number {
  return total(cache) - (cache.bypass ?? 0);
}

/** Number of requests that got their token without an exchange. */
export function servedFromCache({ cache: { hit = 0, shared = 0, joined = 0 } }: RouteCounts): number {
  return hit + shared + joined;
}

/** Methods with a label of their own. Others share one, because callers could invent any number of them. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT']);

/** Other methods share one name, because callers could invent any number of them. */
export function methodLabel(method: string): string {
  return METHODS.has(method) ? method : 'other';
}

/** An upstream may return any number. Only statuses with a meaning get a label of their own. */
function codeLabel(status: number): number | 'other' {
  return status === CALLER_GONE || STATUS_CODES[status] !== undefined ? status : 'other';
}

/** The count of one kind of response, added if it is missing. A linear search, because frequent kinds come early. */
export function responseCount(
  { responses }: RouteCounts,
  method: string,
  code: ResponseCount['code'],
  outcome: Outcome,
): ResponseCount {
  for (const kind of responses) {
    if (kind.code === code && kind.method === method && kind.outcome === outcome) return kind;
  }
  const kind = { method, code, outcome, count: 0 };
  responses.push(kind);
  return kind;
}

function countResponse(
  counts: RouteCounts,
  { method, wayIn, agent, status, outcome, error, durationMs }: StartedResponse,
): void {
  responseCount(counts, methodLabel(method), codeLabel(status), outcome).count += 1;
  add(counts.arrivals, wayIn);
  observe(counts.durations, durationMs / 1000);
  if (outcome === 'forwarded' && status >= 500) counts.backendErrors += 1;
  if (error !== undefined) add(counts.failures, error);
  if (agent !== undefined) countForAgent(counts, agent, status);
}

function countForAgent({ agents }: RouteCounts, agent: string, status: number): void {
  const counts = agents.get(agent) ?? { classes: {}, unauthorized: 0, forbidden: 0 };
  agents.set(agent, counts);
  add(counts.classes, `${Math.floor(status / 100)}xx`);
  if (status === 401) counts.unauthorized += 1;
  if (status === 403) counts.forbidden += 1;
}

/**
 * Counts the requests of routes.
 * @param of returns the counts of a route, or those of requests without a route
 * @param failed called with each error of cambist itself
 */
export function createRouteObserver(of: (route: Route | undefined) => RouteCounts, failed: RecentFailures['note']) {
  return {
    requestRouted(route: Route): void {
      of(route).inFlight += 1;
    },
    responseStarted(route: Route | undefined, response: StartedResponse): void {
      countResponse(of(route), response);
      const { error, team, diagnosis } = response;
      if (error !== undefined) failed(route?.name, error, diagnosis, team);
    },
    requestFinished(route: Route): void {
      of(route).inFlight -= 1;
    },
    requestAborted: (route: Route, by: AbortedBy) => add(of(route).aborted, by),
    streamOpened(route: Route): void {
      of(route).openStreams += 1;
    },
    streamClosed(route: Route): void {
      of(route).openStreams -= 1;
    },
    ownTokenUsed(route: Route): void {
      const counts = of(route);
      counts.ownTokens = (counts.ownTokens ?? 0) + 1;
    },
    upstreamRetried(route: Route): void {
      of(route).retries += 1;
    },
  };
}
