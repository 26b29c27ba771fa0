import { fixOf } from '../observability/recent-failures.ts';
import { allErrors, answered } from '../observability/response-classes.ts';
import type { SignalsStatus } from '../signals/signals.ts';
import { codes, count, counted, html, type Markup, sentence, time } from './page-parts.ts';
import type { RouteStatus } from './route-status.ts';
import type { FailureStatus, StatusReport } from './status-report.ts';

export interface Problem {
  readonly text: Markup;
  readonly fix: string | undefined;
}

const RESTART_FIX = 'Restart cambist to apply the change.';
const RELOAD_FIX = 'The log has each problem with its line. Run "cambist validate" before the next attempt.';
const CLIENT_ERROR_FIX = 'Compare the path of upstream with the URL of the backend.';
/** Stands for the agent among the routes of failures. */
const CALLERS = '_inbound';
const AGENT_FIX = 'See the log of the agent.';
const FULL_FIX = 'Lower signals.remember to the longest lifetime of a token.';
const UNSHARED_FIX = 'Fix the shared cache. cambist retries until it has written the revocations that wait.';
const BACKEND_FIX = "See the backend's own log.";

/** Fewer responses than this say little: the first requests of a client may be for documents that do not exist. */
const FEW_RESPONSES = 3;

/** Yields the problems that need attention. */
export function* problemsOf(report: StatusReport): Generator<Problem> {
  const { missing, shared_cache: shared, audit, signals, inbound, config, routes, failures } = report;
  for (const { check, status, cause, fix } of missing) {
    const text = html`<code>${check}</code> is not ready yet: <code>${status}</code>. ${sentence(cause)}`;
    yield { text, fix: sentence(fix) };
  }
  for (const { name, state } of report.authorization_servers) {
    const text = html`Authorization server <strong>${name}</strong> is down.`;
    if (state === 'down') yield { text, fix: fixOf('ERR_STS_UNAVAILABLE') };
  }
  if (shared?.problem !== undefined) {
    const text = html`The shared cache is unavailable: <code>${shared.problem}</code>. Each replica exchanges for itself.`;
    yield { text, fix: sentence(shared.fix) };
  }
  if (audit?.writable === false) {
    const lost = audit.dropped === 0 ? '' : `: ${count(audit.dropped)} were dropped`;
    yield { text: html`Audit records cannot be written${lost}.`, fix: fixOf('ERR_AUDIT_UNAVAILABLE') };
  }
  if (signals !== undefined) yield* signalProblems(signals);
  yield* agentProblem(inbound, failures);
  for (const route of routes) yield* routeProblem(route, failures);
  if (config.last_reload?.result === 'failure') {
    yield { text: html`The last config reload failed. The previous config stays in use.`, fix: RELOAD_FIX };
  }
  if (config.waits_for_restart.length > 0) {
    const text = html`Changed in the config file, but not in effect: ${codes(config.waits_for_restart)}.`;
    yield { text, fix: RESTART_FIX };
  }
  // Last, because a team must not hide the problems of others.
  for (const { name, invalid } of report.teams ?? []) {
    const [first] = invalid;
    if (first === undefined) continue;
    const text = html`Requests in the region of <a href="#teams">team <strong>${name}</strong></a> get 503 since ${time(first.since)}: <code>${first.cause}</code>.`;
    yield { text, fix: fixOf('ERR_ROUTES_INVALID') };
  }
}

/** Transmitters whose signals do not arrive, a list that is full, and replicas that do not agree. */
function* signalProblems({ transmitters, full_issuers: full, replicas }: SignalsStatus): Generator<Problem> {
  for (const { name, problem, cause, fix, available } of transmitters) {
    const text = html`Signals of transmitter <strong>${name}</strong> may not arrive: <code>${problem}</code>. ${sentence(cause)}`;
    if (!available) yield { text, fix: sentence(fix) };
  }
  if (full > 0) {
    const text = html`There are too many revocations. All older tokens of ${counted(full, 'issuer')} are refused.`;
    yield { text, fix: FULL_FIX };
  }
  if (replicas === undefined) return;
  if (replicas.unshared > 0) {
    const revocations = counted(replicas.unshared, 'revocation');
    const text = html`Other replicas do not know of ${revocations}, and serve the callers until they do.`;
    yield { text, fix: UNSHARED_FIX };
  }
  if (!replicas.in_sync) {
    yield { text: html`This replica does not learn of revocations that other replicas receive.`, fix: UNSHARED_FIX };
  }
  if (replicas.full) yield { text: html`The shared cache has no room for more revocations.`, fix: FULL_FIX };
}

/** Callers that cambist refuses do not count. */
function agentProblem(inbound: StatusReport['inbound'], failures: StatusReport['failures']): Problem[] {
  if (inbound?.state !== 'failing') return [];
  const { latest } = inbound;
  const errors = allErrors(latest);
  const all = answered(latest) - latest.refused;
  if (all < FEW_RESPONSES) return [];
  const failure =
    errors > latest['5xx'] ? failures.find((one) => one.route === CALLERS && one.status >= 500) : undefined;
  const by = failure === undefined ? html` with 5xx of the agent` : html`, the last with <code>${failure.error}</code>`;
  const text = html`<a href="#inbound">The agent</a>: ${count(errors)} of the last ${count(all)} requests of callers failed${by}.`;
  return [{ text, fix: failure === undefined ? AGENT_FIX : reasonOf(failure) }];
}

function routeProblem(route: RouteStatus, failures: StatusReport['failures']): Problem[] {
  const { name, state, status, latest } = route;
  const link = html`Route <a href="#route-${name}"><strong>${name}</strong></a>`;
  const errors = allErrors(latest);
  const passed = latest['2xx'] + latest['3xx'] + latest['4xx'] + latest.other + errors;
  const last = (from: number) => failures.find((one) => one.route === name && Math.floor(one.status / 100) === from);
  if (passed + latest.refused < FEW_RESPONSES) return [];
  switch (state) {
    case 'only_4xx': {
      const text = html`${link}: its backend returned ${status ?? '4xx'} to all of the last ${count(passed)} requests.`;
      return [{ text, fix: CLIENT_ERROR_FIX }];
    }
    case 'failing': {
      const failure = errors > latest['5xx'] ? last(5) : undefined;
      const by =
        failure === undefined ? html` with 5xx of the backend` : html`, the last with <code>${failure.error}</code>`;
      const text = html`${link}: ${count(errors)} of the last ${count(passed)} requests failed${by}.`;
      return [{ text, fix: failure === undefined ? BACKEND_FIX : reasonOf(failure) }];
    }
    case 'refused': {
      // Other refusals are about the callers.
      const refusal = last(4);
      if (refusal?.error !== 'ERR_EXCHANGE_REFUSED') return [];
      const text = html`${link}: the authorization server refuses it every token.`;
      return [{ text, fix: reasonOf(refusal) }];
    }
    default:
      return [];
  }
}

export function reasonOf({ cause, fix }: FailureStatus): string {
  return [cause, fix].map(sentence).join(' ').trim();
}
