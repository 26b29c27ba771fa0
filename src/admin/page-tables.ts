import { backendFailures } from '../observability/response-classes.ts';
import { paired, responseBars } from './charts.ts';
import type { DecisionRow } from './decision-report.ts';
import {
  type Column,
  codes,
  count,
  counted,
  duration,
  html,
  type Markup,
  type Mood,
  NONE,
  percent,
  pill,
  routeOf,
  rowsTable,
  sentence,
  table,
  time,
} from './page-parts.ts';
import type { Figures, RecentFigures, RouteState, RouteStatus, TeamStatus } from './route-status.ts';
import type { AgentStatus, Charts, FailureStatus, InboundStatus, StatusReport } from './status-report.ts';

const MOODS: Readonly<Record<RouteState, Mood>> = {
  idle: 'idle',
  ok: 'good',
  refused: 'warn',
  errors: 'warn',
  only_4xx: 'bad',
  failing: 'bad',
};

const WORDS: Readonly<Record<RouteState, string>> = {
  idle: 'no requests',
  ok: 'ok',
  refused: 'callers refused',
  errors: 'some errors',
  only_4xx: 'only 4xx',
  failing: 'failing',
};

/** Not within a template, whose text the build cannot escape: V8 keeps a file that is not ASCII in twice the memory. */
const ARROW = '→';

/** Rendering more would keep requests waiting, and a person looks through no more. */
const MAX_ROWS = 200;

const RANK: readonly Mood[] = ['bad', 'warn', 'good', 'idle'];

/** Chooses routes: those with problems first, then those with the most requests. */
function mostNotable(routes: readonly RouteStatus[]): readonly RouteStatus[] {
  const rank = ({ state }: RouteStatus): number => RANK.indexOf(MOODS[state]);
  return routes
    .toSorted((one, other) => rank(one) - rank(other) || other.recent.requests - one.recent.requests)
    .slice(0, MAX_ROWS);
}

interface Observed extends Figures {
  readonly state: RouteState;
  readonly status?: number | undefined;
  readonly recent: RecentFigures;
}

const OBSERVED_COLUMNS: readonly Column<Observed>[] = [
  ['Requests', ({ recent }) => recent.requests, 'figure'],
  ['Cached', ({ recent }) => percent(recent.served_from_cache, recent.needed_token), 'figure'],
  ['In flight', (row) => row.in_flight, 'figure'],
  ['Streams', (row) => row.open_streams, 'figure'],
  ['Backend 2xx', successes, 'figure'],
  ['Backend 3xx', ({ recent }) => recent.responses['3xx'], 'figure'],
  ['Backend 4xx', ({ recent }) => recent.responses['4xx'], 'figure warn'],
  ['Backend 5xx', ({ recent }) => backendFailures(recent.responses), 'figure bad'],
  ['cambist 4xx', ({ recent }) => recent.responses.refused, 'figure'],
  ['cambist 5xx', ({ recent }) => recent.responses.failed, 'figure bad'],
  ['p50', ({ recent }) => duration(recent.p50_ms), 'figure'],
  ['p95', ({ recent }) => duration(recent.p95_ms), 'figure'],
  ['p99', ({ recent }) => duration(recent.p99_ms), 'figure'],
];

function successes({ recent: { responses } }: Observed): string {
  return `${count(responses['2xx'])}${responses.other === 0 ? '' : ` +${count(responses.other)} other`}`;
}

/** The columns of a table of routes. @param name of a row @param chartOf the responses to draw */
function observedColumns<Row extends Observed>(
  name: Column<Row>,
  chartOf: (row: Row) => Charts['responses'],
): Column<Row>[] {
  const stateOf = ({ state, status }: Row): Markup =>
    pill(MOODS[state], state === 'only_4xx' && status !== undefined ? `only ${status}` : WORDS[state]);
  return [
    name,
    ['State', stateOf],
    ['Chart', (row) => responseBars(paired(chartOf(row))), 'chart'],
    ...OBSERVED_COLUMNS,
  ];
}

/** The routes in the order of the config: figures of the last quarter of an hour, and below them where requests go. */
export function routesTable(
  routes: readonly RouteStatus[],
  chartOf: Charts['route'],
  failures: readonly FailureStatus[],
): Markup {
  const shown = routes.length > MAX_ROWS ? mostNotable(routes) : routes;
  const name: Column<RouteStatus> = ['Route', (route) => html`<span id="route-${route.name}">${route.name}</span>`];
  const columns = observedColumns(name, (route) => chartOf(route.name));
  const about = (
    route: RouteStatus,
  ): Markup => html`<tr class="about"><td colspan="${columns.length}">${where(route)}${lastFailure(route.name, failures)}</td></tr>
`;
  const rest = restOf(routes, shown, '. Those with problems and with the most requests come first.');
  const more = html`${rest}
<p class="legend">Last 15 minutes. A bar is half a minute: <span class="key passed">up, below 400</span>
<span class="key client">down, 4xx of the backend</span> <span class="key server">5xx</span>
<span class="key refused">4xx of cambist</span></p>`;
  return table('routes', 'Routes', columns, shown, { empty: 'No routes.', more, below: about });
}

/** Shows the way from the match to the upstream, and the token for it. */
function where(route: RouteStatus): Markup {
  const { match, upstream } = route;
  const conditions = [match.methods, match.mcp_method, match.mcp_name].filter((part) => part !== undefined);
  const conditionText = conditions.map((part) => [part].flat().join(', ')).join(' · ');
  return html`<p class="where"><code><span class="dim">${match.host}</span>${match.path}</code>${
    match.host === undefined ? html` <span class="dim">on any host</span>` : undefined
  }${conditionText === '' ? undefined : html` <code>${conditionText}</code>`}
<span class="arrow" role="img" aria-label="goes to">${ARROW}</span> <code>${upstream}</code>
<span class="token">${tokenText(route)}</span></p>`;
}

function tokenText({ credential, audience, authorization_servers: servers, upstream }: RouteStatus): Markup {
  if (credential === 'none') return html`<span class="dim">no token</span>`;
  if (credential === 'passthrough') return html`<span class="dim">the caller's own token</span>`;
  if (credential === 'secret') return html`<span class="dim">a secret from a file</span>`;
  const token = credential === 'exchange' ? 'token' : "cambist's own token";
  const from = html`<span class="dim">${token} from ${servers.join(', then ')}</span>`;
  const [only, ...others] = audience;
  if (only === undefined) return html`<span class="dim">any audience,</span> ${from}`;
  if (others.length === 0 && only === upstream) return html`<span class="dim">same audience,</span> ${from}`;
  return html`<span class="dim">audience</span> ${codes(audience)}<span class="dim">,</span> ${from}`;
}

/** The last 5xx of cambist on the route, and the last refusal of a caller if that is more recent. */
function lastFailure(name: string, failures: readonly FailureStatus[]): Markup {
  const own = failures.filter(({ route }) => route === name);
  const [latest] = own;
  const failed = own.find(({ status }) => status >= 500);
  const refused = latest === failed ? undefined : latest;
  return html`${failureLine('Last failure', 'bad', failed)}${failureLine('Last refusal', 'warn', refused)}`;
}

function failureLine(label: string, kind: Mood, failure: FailureStatus | undefined): Markup | undefined {
  if (failure === undefined) return undefined;
  const { error, title, cause, count: times, last_at: lastAt } = failure;
  return html`<p class="last"><span class="${kind}">${label}</span> ${time(lastAt)} <code>${error}</code> ${sentence(cause) ?? `${title}.`}${
    times === 1 ? '' : html` <span class="dim">(${count(times)} times)</span>`
  }</p>`;
}

/** The requests of callers, in the form of a route whose backend is the agent. Nothing without `inbound`. */
export function inboundTable(inbound: InboundStatus | undefined, chart: Charts['inbound']): Markup | undefined {
  if (inbound === undefined) return undefined;
  const { handles, detached } = inbound;
  const more = html`<p class="more">${count(handles.entries)} of ${count(handles.max_entries)} handles.
Used after their request: <span${detached.refused > 0 ? html` class="warn"` : undefined}>${count(detached.refused)} refused</span>, ${count(detached.allowed)} allowed</p>`;
  const name: Column<InboundStatus> = ['Agent', ({ agent }) => html`<code>${agent}</code>`];
  const columns = observedColumns(name, () => chart);
  return table('inbound', 'Callers of the agent', columns, [inbound], { more });
}

const TEAM_COLUMNS: readonly Column<TeamStatus>[] = [
  ['Team', ({ name }) => name],
  ['State', ({ open }) => (open ? pill('good', 'open') : pill('bad', 'closed'))],
  ['Routes', ({ routes }) => routes, 'figure'],
  ['Files', ({ files }) => files, 'figure'],
  ['Invalid file', invalidFile, 'prose'],
];

function invalidFile({ invalid: [first, ...more] }: TeamStatus): Markup | undefined {
  if (first === undefined) return undefined;
  const others = more.length === 0 ? '' : `, and ${counted(more.length, 'more file')}`;
  return html`<code>${first.cause}</code> <span class="dim">(since ${time(first.since)}, ${counted(first.errors, 'error')}${others})</span>`;
}

/** Closed regions come first. Nothing without `routes_from`. */
export function teamsTable(teams: StatusReport['teams']): Markup | undefined {
  if (teams === undefined) return undefined;
  const shown = teams.toSorted((one, other) => Number(one.open) - Number(other.open)).slice(0, MAX_ROWS);
  return table('teams', 'Teams', TEAM_COLUMNS, shown, { more: restOf(teams, shown) });
}

const AGENT_COLUMNS: readonly Column<AgentStatus>[] = [
  ['Agent', ({ name }) => name],
  ['Requests since the start', ({ requests }) => requests, 'figure'],
  ['401', ({ unauthorized }) => unauthorized, 'figure warn'],
  ['403', ({ forbidden }) => forbidden, 'figure warn'],
  ['In flight', (row) => row.in_flight, 'figure'],
  ['Connections', ({ connections }) => connections, 'figure'],
];

/** The agents with the most requests come first. Nothing without `agents`. */
export function agentsTable(agents: readonly AgentStatus[] | undefined): Markup | undefined {
  if (agents === undefined) return undefined;
  const shown = agents.toSorted((one, other) => other.requests - one.requests).slice(0, MAX_ROWS);
  return table('agents', 'Agents', AGENT_COLUMNS, shown, { more: restOf(agents, shown) });
}

function restOf(all: readonly unknown[], { length }: readonly unknown[], order = ''): Markup | undefined {
  if (length === all.length) return undefined;
  return html`<p class="more">and ${count(all.length - length)} more in <a href="status.json">/status.json</a>${order}</p>`;
}

const DECISION_COLUMNS: readonly Column<DecisionRow>[] = [
  ['Route', requestName],
  ['Response', ({ status, error, outcome }) => html`${statusPill(status)} <code>${error ?? outcome}</code>`],
  ['Time', (row) => time(row.time)],
  ['Cache', ({ cache }) => cache ?? NONE],
  ['Exchange', (row) => duration(row.exchange_ms), 'figure'],
  [
    'Requested',
    ({ requested }) => target([...(requested?.resource ?? []), ...(requested?.audience ?? [])], requested?.scope),
    'target',
  ],
  ['Issued', ({ granted }) => target(granted?.audience ?? [], granted?.scope), 'target'],
];

function requestName(row: DecisionRow): Markup {
  const { matched, agent } = row;
  return html`${routeOf(row)}${matched === undefined ? undefined : html`<p class="more">${matched}</p>`}${agent === undefined ? undefined : html`<p class="more">agent ${agent}</p>`}`;
}

export function statusPill(status: number): Markup {
  return pill(status >= 500 ? 'bad' : status >= 400 ? 'warn' : 'good', String(status));
}

/** Further rows would bury the rest of the page. */
const SHOWN = 5;

/** @param all the earliest first; undefined for readers on other machines */
export function decisionsTable(all: readonly DecisionRow[] | undefined): Markup {
  const empty = all === undefined ? 'Shown on this machine only.' : 'None yet.';
  const latest = all?.toReversed() ?? [];
  const more = latest.slice(SHOWN);
  const rest = html`<details id="more-decisions"><summary>${count(more.length)} more</summary>${rowsTable(DECISION_COLUMNS, more)}</details>`;
  const rows = latest.slice(0, SHOWN);
  return table('decisions', 'Last requests', DECISION_COLUMNS, rows, {
    empty,
    more: more.length > 0 ? rest : undefined,
  });
}

function target(audience: readonly string[], scope: string | undefined): Markup {
  if (audience.length === 0 && scope === undefined) return html`${NONE}`;
  return html`${codes(audience)}${scope === undefined ? undefined : html` scope <code>${scope}</code>`}`;
}
