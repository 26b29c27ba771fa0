import type { Config } from '../config/config.ts';
import type { Match } from '../config/match.ts';
import type { Credential, Route } from '../config/route.ts';
import { errorSummary, shownFiles, type Team } from '../config/teams.ts';
import { usedServers } from '../config/used-servers.ts';
import { countOf, type Histogram, quantileOf } from '../observability/counters.ts';
import type { Counts } from '../observability/counts.ts';
import type { DecisionCounts, DecisionProtocol } from '../observability/decision-counts.ts';
import { printable } from '../observability/printable.ts';
import type { Recent } from '../observability/recent-traffic.ts';
import {
  allErrors,
  answered,
  classify,
  type ResponseClass,
  type ResponseClasses,
} from '../observability/response-classes.ts';
import { neededToken, type RouteCounts, servedFromCache } from '../observability/route-counts.ts';
import { oncePer } from '../secrets/secret.ts';
import { hideKeys } from './hide-keys.ts';

/** Numbers since the process started. */
export interface Figures {
  readonly requests: number;
  /** 4xx of cambist: a caller has to act. */
  readonly refused: number;
  readonly failed: number;
  /** 5xx of backends, and requests to which a backend did not respond. */
  readonly backend_errors: number;
  readonly in_flight: number;
  readonly open_streams: number;
  /** Requests that needed a token, and those of them without an exchange. */
  readonly needed_token: number;
  readonly served_from_cache: number;
}

/** Numbers of the last quarter of an hour. */
export interface RecentFigures {
  readonly requests: number;
  readonly responses: ResponseClasses;
  readonly needed_token: number;
  readonly served_from_cache: number;
  /** Time until the response headers. */
  readonly p50_ms?: number | undefined;
  readonly p95_ms?: number | undefined;
  readonly p99_ms?: number | undefined;
}

/**
 * The state of a route by its latest requests: those of the last 15 seconds with any, or of up to a minute if there were few.
 * `idle`: no request in the last quarter of an hour. `refused`: cambist refused every caller. `only_4xx`: the backend returned
 * nothing else. `errors`: some responses are a 5xx of the backend or of cambist. `failing`: half of them are, or more.
 */
export type RouteState = 'idle' | 'ok' | 'refused' | 'errors' | 'only_4xx' | 'failing';

interface MatchStatus {
  readonly host?: string | undefined;
  readonly path: string;
  readonly methods?: readonly string[] | undefined;
  readonly mcp_method?: readonly string[] | undefined;
  readonly mcp_name?: readonly string[] | undefined;
}

export interface RouteStatus extends Figures {
  readonly name: string;
  /** The match in the config. A missing part matches everything. */
  readonly match: MatchStatus;
  /** The URL without parts that look like a key. */
  readonly upstream: string;
  readonly credential: Credential['kind'];
  readonly audience: readonly string[];
  readonly authorization_servers: readonly string[];
  readonly state: RouteState;
  readonly latest: ResponseClasses;
  /** The only status of the backend, if `state` is `only_4xx` and it has returned no other 4xx. */
  readonly status?: number | undefined;
  readonly recent: RecentFigures;
}

export interface TeamStatus {
  readonly name: string;
  /** False: a file is invalid, and each request in the region gets 503. */
  readonly open: boolean;
  readonly routes: number;
  readonly files: number;
  /** At most 100. */
  readonly invalid: readonly InvalidFile[];
}

interface InvalidFile {
  /** As in `cambist_routes_file_valid`. */
  readonly file: string;
  readonly since: string;
  /** The first error, with its line. */
  readonly cause: string;
  readonly errors: number;
}

/** Decisions since the start. */
export interface DataPlaneStatus extends Pick<RecentFigures, 'p50_ms' | 'p95_ms' | 'p99_ms'> {
  readonly protocol: DecisionProtocol;
  readonly results: DecisionCounts['results'];
}

export function routeStatus(route: Route, counts: Readonly<RouteCounts>, recent: Recent): RouteStatus {
  const { latest } = recent;
  const state = stateOf(latest);
  return {
    ...destinationOf(route),
    state,
    latest,
    status: state === 'only_4xx' ? onlyClientError(counts) : undefined,
    recent: recentFigures(recent),
    ...figures([counts]),
  };
}

const destinationOf = oncePer(({ name, match, upstream, credential }: Route) => ({
  name,
  match: matchOf(match),
  upstream: hideKeys(upstream.origin + upstream.path),
  credential: credential.kind,
  audience: audienceOf(credential),
  authorization_servers: usedServers(credential).map(({ name: server }) => server),
}));

function matchOf({ host, path, conditions }: Match): MatchStatus {
  const { methods, mcpMethods, mcpNames } = conditions ?? {};
  return { host, path, methods, mcp_method: mcpMethods, mcp_name: mcpNames };
}

/** The audience that a route requests its token for. The list is empty if it requests none. */
function audienceOf(credential: Route['credential']): string[] {
  if (!('target' in credential)) return [];
  const { resource, audience, expectAudience } = credential.target;
  const requested = [...resource, ...audience];
  if (requested.length > 0 || expectAudience === 'any') return requested.map(hideKeys);
  return ('only' in expectAudience ? expectAudience.only : expectAudience).map(hideKeys);
}

export function figures(routes: readonly Readonly<RouteCounts>[]): Figures {
  const sum = (of: (counts: RouteCounts) => number): number => routes.reduce((all, counts) => all + of(counts), 0);
  const classes = routes.map(classify);
  const responses = (name: ResponseClass): number => classes.reduce((all, one) => all + one[name], 0);
  return {
    requests: sum(({ durations }) => countOf(durations)),
    refused: responses('refused'),
    failed: responses('failed'),
    backend_errors: responses('5xx') + responses('unreached'),
    in_flight: sum(({ inFlight }) => inFlight),
    open_streams: sum(({ openStreams }) => openStreams),
    needed_token: sum(neededToken),
    served_from_cache: sum(servedFromCache),
  };
}

export function recentFigures({
  responses,
  durations,
  neededToken: needed,
  servedFromCache: served,
}: Recent): RecentFigures {
  return {
    requests: countOf(durations),
    responses,
    needed_token: needed,
    served_from_cache: served,
    ...percentiles(durations),
  };
}

/** p50, p95 and p99 in milliseconds, if there are durations. */
export function percentiles(durations: Histogram): Pick<RecentFigures, 'p50_ms' | 'p95_ms' | 'p99_ms'> {
  const ms = (rank: number): number => twoDigits(1000 * (quantileOf(durations, rank) ?? 0));
  return quantileOf(durations, 0) === undefined ? {} : { p50_ms: ms(0.5), p95_ms: ms(0.95), p99_ms: ms(0.99) };
}

/** More digits would pretend to a precision that the buckets do not have. */
function twoDigits(ms: number): number {
  return Number(ms.toPrecision(ms >= 1000 ? 3 : 2));
}

export function stateOf(latest: ResponseClasses): RouteState {
  const all = answered(latest);
  const passed = all - latest.refused;
  const errors = allErrors(latest);
  if (all === 0) return 'idle';
  if (passed === 0) return 'refused';
  if (2 * errors >= passed) return 'failing';
  if (latest['4xx'] + errors === passed) return 'only_4xx';
  return errors > 0 ? 'errors' : 'ok';
}

function onlyClientError({ responses }: Readonly<RouteCounts>): number | undefined {
  const codes = new Set<number>();
  for (const { code, outcome, count } of responses) {
    if (outcome === 'forwarded' && count > 0 && code !== 'other' && code >= 400 && code < 500) codes.add(code);
  }
  const [code, ...others] = codes;
  return others.length === 0 ? code : undefined;
}

export function routeNames(config: Config | undefined): string[] {
  return config?.routes.map(({ name }) => name) ?? [];
}

export function teamStatus(team: Team): TeamStatus {
  const invalid = [...shownFiles(team)].flatMap(([name, file]) => {
    if (file.isValid) return [];
    const { first, count } = errorSummary(name, file);
    return [{ file: name, since: isoTime(file.sinceMs), cause: printable(first), errors: count }];
  });
  const { grants, isOpen, routes, files } = team;
  return { name: grants.name, open: isOpen, routes: routes.length, files: files.length, invalid };
}

/** Undefined without `decisions`. */
export function dataPlanes(all: Counts['decisions']): DataPlaneStatus[] | undefined {
  if (all.size === 0) return undefined;
  return [...all].map(([protocol, { results, durations }]) => ({ protocol, results, ...percentiles(durations) }));
}

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
