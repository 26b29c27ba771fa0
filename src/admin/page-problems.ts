import type { AuditCounts } from '../observability/counts.ts';
import { fixOf } from '../observability/recent-failures.ts';
import { allErrors, answered } from '../observability/response-classes.ts';
import type { ReplicaStatus } from '../signals/replicas.ts';
import { codes, count, counted, html, type Markup, sentence } from './page-parts.ts';
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
const ALL_SHARED: ReplicaStatus = { unshared: 0, in_sync: true, full: false };
const BACKEND_FIX = "See the backend's own log.";

/** The first requests of a client may ask for documents that do not exist. */
const FEW_RESPONSES = 3;

export function problemsOf({
  missing,
  shared_cache: shared,
  signals,
  authorization_servers: servers,
  config,
  routes,
  failures,
  inbound,
  audit,
}: StatusReport): Problem[] {
  return [
    ...missing.map(({ check, status, cause, fix }) => ({
      text: html`<code>${check}</code> is not ready yet: <code>${status}</code>. ${sentence(cause)}`,
      fix: sentence(fix),
    })),
    ...servers
      .filter(({ state }) => state === 'down')
      .map(({ name }) => ({
        text: html`Authorization server <strong>${name}</strong> is down.`,
        fix: fixOf('ERR_STS_UNAVAILABLE'),
      })),
    ...(shared?.problem === undefined
      ? []
      : [
          {
            text: html`The shared cache is unavailable: <code>${shared.problem}</code>. Each replica exchanges for itself.`,
            fix: sentence(shared.fix),
          },
        ]),
    ...auditProblem(audit),
    ...signalProblems(signals),
    ...agentProblem(inbound, failures),
    ...routes.flatMap((route) => routeProblem(route, failures)),
    ...(config.last_reload?.result === 'failure'
      ? [{ text: html`The last config reload failed. The previous config stays in use.`, fix: RELOAD_FIX }]
      : []),
    ...(config.waits_for_restart.length > 0
      ? [
          {
            text: html`Changed in the config file, but not in effect: ${codes(config.waits_for_restart)}.`,
            fix: RESTART_FIX,
          },
        ]
      : []),
  ];
}

function auditProblem(audit: AuditCounts | undefined): Problem[] {
  if (audit === undefined || audit.writable) return [];
  const lost = audit.dropped === 0 ? '' : `: ${count(audit.dropped)} were dropped`;
  return [{ text: html`Audit records cannot be written${lost}.`, fix: fixOf('ERR_AUDIT_UNAVAILABLE') }];
}

/** Transmitters whose signals do not arrive, and a list that is full. */
function signalProblems(signals: StatusReport['signals']): Problem[] {
  const failing = (signals?.transmitters ?? []).filter(({ available }) => !available);
  const full = signals?.full_issuers ?? 0;
  return [
    ...failing.map(({ name, problem, cause, fix }) => ({
      text: html`Signals of transmitter <strong>${name}</strong> may not arrive: <code>${problem ?? ''}</code>. ${sentence(cause)}`,
      fix: sentence(fix),
    })),
    ...(full > 0
      ? [
          {
            text: html`There are too many revocations. All older tokens of ${counted(full, 'issuer')} are refused.`,
            fix: FULL_FIX,
          },
        ]
      : []),
    ...replicaProblems(signals?.replicas),
  ];
}

function replicaProblems({ unshared, in_sync, full }: ReplicaStatus = ALL_SHARED): Problem[] {
  return [
    ...(unshared === 0
      ? []
      : [
          {
            text: html`Other replicas do not know of ${counted(unshared, 'revocation')}, and serve the callers until they do.`,
            fix: UNSHARED_FIX,
          },
        ]),
    ...(in_sync
      ? []
      : [{ text: html`This replica does not learn of revocations that other replicas receive.`, fix: UNSHARED_FIX }]),
    ...(full ? [{ text: html`The shared cache has no room for more revocations.`, fix: FULL_FIX }] : []),
  ];
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
