import { STATUS_CODES } from 'node:http';
import type { ErrorCode } from '../errors.ts';
import type { ExchangeEnd } from './expected.ts';
import { createHistogram, type Histogram } from './histogram.ts';
import { ABORTED_BY, type AbortedBy, CALLER_GONE, type Outcome, type RetryReason } from './proxy-observer.ts';
import { expect, type Tally } from './tally.ts';
import { CACHE_RESULTS, type CacheResult } from './token-observer.ts';

/** What became of the requests on a route since the process began. */
export interface RouteCounts {
  /** Its name. */
  readonly route: string;
  inFlight: number;
  openStreams: number;
  /** Answers of the backend's own that are 5xx; here, since their `code` may be `other`. */
  backendErrors: number;
  /** In the order in which they first came; what comes most is among the first. */
  readonly answers: AnswerCount[];
  /** Seconds from the arrival of a request to the headers of its answer. */
  readonly durations: Histogram;
  /** Answers of our own that are errors. */
  readonly failures: Tally<ErrorCode>;
  readonly aborted: Tally<AbortedBy>;
  readonly retries: Tally<RetryReason>;
  readonly cache: Tally<CacheResult>;
  /** Token requests by authorization server, then by how they ended. */
  readonly exchanges: Map<string, Tally<ExchangeEnd>>;
}

/** Answers of one kind on one route. */
export interface AnswerCount {
  readonly route: string;
  readonly method: string;
  /** HTTP status. */
  readonly code: number | 'other';
  readonly outcome: Outcome;
  count: number;
}

/** From a cached answer on loopback to a long tool call. */
const DURATION_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function createRouteCounts(route: string): RouteCounts {
  return {
    route,
    inFlight: 0,
    openStreams: 0,
    backendErrors: 0,
    answers: [],
    durations: createHistogram(DURATION_BOUNDS),
    failures: {},
    aborted: expect({}, ABORTED_BY),
    retries: expect({}, ['token']),
    cache: expect({}, CACHE_RESULTS),
    exchanges: new Map(),
  };
}

/** Methods by name; any other is counted as one, since a caller could make up as many as it likes. */
const METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'CONNECT']);

export function methodLabel(method: string): string {
  return METHODS.has(method) ? method : 'other';
}

/** An upstream may answer with any number; only those that have a meaning are labels of their own. */
export function codeLabel(status: number): number | 'other' {
  return status === CALLER_GONE || STATUS_CODES[status] !== undefined ? status : 'other';
}
