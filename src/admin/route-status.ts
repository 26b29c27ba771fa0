import type { Config } from '../config/config.ts';
import type { Match } from '../config/match.ts';
import type { Route } from '../config/route.ts';
import type { Team } from '../config/teams.ts';
import { usedServers } from '../config/used-servers.ts';
import { countOf, type Histogram, quantileOf } from '../observability/counters.ts';
import type { Counts } from '../observability/counts.ts';
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
import { errorSummary, shownFiles } from '../teams/shown-files.ts';
import { hideKeys } from './hide-keys.ts';

export type Figures = ReturnType<typeof figures>;
export type RecentFigures = ReturnType<typeof recentFigures>;
export type RouteStatus = ReturnType<typeof routeStatus>;
export type TeamStatus = ReturnType<typeof teamStatus>;
export type DataPlaneStatus = NonNullable<ReturnType<typeof dataPlanes>>[number];

/**
 * The state of a route by its latest requests: those of the last 15 seconds with any, or of up to a minute if there were few.
 * `idle`: no request in the last quarter of an hour. `refused`: cambist refused every caller. `only_4xx`: the backend returned
 * nothing else. `errors`: some responses are a 5xx of the backend or of cambist. `failing`: half of them are, or more.
 */
export type RouteState = 'idle' | 'ok' | 'refused' | 'errors' | 'only_4xx' | 'failing';

export function routeStatus(route: Route, counts: Readonly<RouteCounts>, recent: Recent) {
  const { latest } = recent;
  const state = stateOf(latest);
  return {
    ...destinationOf(route),
    state,
    latest,
    // The only 4xx that the backend has returned.
    status: state === 'only_4xx' ? onlyClientError(counts) : undefined,
    recent: recentFigures(recent),
    ...figures([counts]),
  };
}

/** Says where requests go. The URLs lack parts that look like a key. A missing part of the match matches everything. */
const destinationOf = oncePer(({ name, match, upstream, credential }: Route) => ({
  name,
  match: matchOf(match),
  upstream: hideKeys(upstream.origin + upstream.path),
  credential: credential.kind,
  audience: audienceOf(credential),
  authorization_servers: usedServers(credential).map(({ name: server }) => server),
}));

function matchOf({ host, path, conditions }: Match) {
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

/** Numbers since the process started. */
export function figures(routes: readonly Readonly<RouteCounts>[]) {
  const sum = (of: (counts: RouteCounts) => number): number => routes.reduce((all, counts) => all + of(counts), 0);
  const classes = routes.map(classify);
  const responses = (name: ResponseClass): number => classes.reduce((all, one) => all + one[name], 0);
  return {
    requests: sum(({ durations }) => countOf(durations)),
    // These are 4xx of cambist: a caller has to act.
    refused: responses('refused'),
    failed: responses('failed'),
    // Requests to which a backend did not respond are among them.
    backend_errors: responses('5xx') + responses('unreached'),
    in_flight: sum(({ inFlight }) => inFlight),
    open_streams: sum(({ openStreams }) => openStreams),
    needed_token: sum(neededToken),
    served_from_cache: sum(servedFromCache),
  };
}

/** Numbers of the last quarter of an hour. */
export function recentFigures(recent: Recent) {
  return {
    requests: countOf(recent.durations),
    responses: recent.responses,
    needed_token: recent.neededToken,
    served_from_cache: recent.servedFromCache,
    ...percentiles(recent.durations),
  };
}

interface Percentiles {
  readonly p50_ms?: number;
  readonly p95_ms?: number;
  readonly p99_ms?: number;
}

/** Times until the response headers in milliseconds, if there are any. */
export function percentiles(durations: Histogram): Percentiles {
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

/** A team that is not open has an invalid file, and each request in its region gets 503. */
export function teamStatus(team: Team) {
  const invalid = [...shownFiles(team)].flatMap(([name, file]) => {
    if (file.isValid) return [];
    const { first, count } = errorSummary(name, file);
    // The cause is the first error, with its line.
    return [{ file: name, since: isoTime(file.sinceMs), cause: printable(first), errors: count }];
  });
  const { grants, isOpen, routes, files } = team;
  return { name: grants.name, open: isOpen, routes: routes.length, files: files.length, invalid };
}

/** Decisions since the start. Undefined without `decisions`. */
export function dataPlanes(all: Counts['decisions']) {
  if (all.size === 0) return undefined;
  return [...all].map(([protocol, { results, durations }]) => ({ protocol, results, ...percentiles(durations) }));
}

export function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}
