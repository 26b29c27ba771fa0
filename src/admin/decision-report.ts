import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import { type Decision, REMEMBERED_DECISIONS, type RecentDecisions } from '../proxy/recent-decisions.ts';
import { whyMatched } from '../routing/why-routed.ts';

/** The body of `/decisions`: names and values from the config, codes and numbers. No text from a caller, and no subject. */
export interface DecisionReport {
  /** Number of the last decision; 0 before the first. */
  readonly last: number;
  /** Number of decisions that the reader missed, because they are no longer remembered. */
  readonly missed: number;
  /** The earliest first. */
  readonly decisions: readonly DecisionRow[];
}

export type DecisionRow = ReturnType<typeof toRow>;

/** Number of decisions on the status page. `cambist tail` shows more. */
export const SHOWN_DECISIONS = 20;

/** @param after number of the last decision that the reader knows; 0 for none */
export function reportDecisions(
  recent: RecentDecisions,
  after: number,
  clock: Clock,
  most: number = REMEMBERED_DECISIONS,
): DecisionReport {
  // A reader that knows a later one knows it from an earlier process.
  const known = after > recent.last ? 0 : after;
  const decisions = recent.after(Math.max(known, recent.last - most));
  const wallOffsetMs = clock.wallMs() - clock.monotonicMs();
  return {
    last: recent.last,
    missed: recent.last - known - decisions.length,
    decisions: decisions.map((decision) => toRow(decision, wallOffsetMs)),
  };
}

function toRow(decision: Decision, wallOffsetMs: number) {
  const { number, atMs, agent, route, team, status, outcome, durationMs, error, cacheResult, exchangeMs, granted } =
    decision;
  return {
    number,
    time: new Date(atMs + wallOffsetMs).toISOString(),
    status,
    outcome,
    error,
    duration_ms: rounded(durationMs),
    agent,
    route: route?.name,
    team,
    matched: route && whyMatched(route.match),
    cache: cacheResult,
    exchange_ms: exchangeMs && rounded(exchangeMs),
    requested: cacheResult === undefined || cacheResult === 'bypass' ? undefined : requestedBy(route, decision.stepUp),
    granted: granted && { audience: nonEmpty(granted.audience), scope: granted.scope },
  };
}

function requestedBy(route: Route | undefined, stepUp: readonly string[] = []) {
  if (route === undefined || !('target' in route.credential)) return {};
  const { resource, audience, scope } = route.credential.target;
  const scopes = [...(scope === undefined ? [] : [scope]), ...stepUp].join(' ');
  return { resource: nonEmpty(resource), audience: nonEmpty(audience), scope: scopes || undefined };
}

function nonEmpty<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length > 0 ? list : undefined;
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
