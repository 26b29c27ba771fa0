import { backendFailures } from '../observability/response-classes.ts';
import { paired, responseBars } from './charts.ts';
import type { DecisionRow } from './decisions.ts';
import {
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
import type { Figures, RecentFigures, RouteState, RouteStatus } from './route-status.ts';
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

type Groups = readonly (readonly [group: string, ...columns: string[]])[];

const GROUPS: Groups = [
  ['Requests', 'All', 'Cached', 'In flight', 'Streams'],
  ['Backend', '2xx', '3xx', '4xx', '5xx'],
  ['cambist', '4xx', '5xx'],
  ['Response time', 'p50', 'p95', 'p99'],
];
/** Name, state and chart come first. */
const columnsOf = (groups: Groups): number => 3 + groups.reduce((sum, [, ...columns]) => sum + columns.length, 0);

/** The routes in the order of the config: figures of the last quarter of an hour, and below them where requests go. */
export function routesTable(
  routes: readonly RouteStatus[],
  chartOf: Charts['route'],
  failures: readonly FailureStatus[],
): Markup {
  const heading = html`<h2 id="routes-title">Routes</h2>`;
  if (routes.length === 0) {
    return html`<section id="routes" aria-labelledby="routes-title">${heading}<p class="empty">No routes.</p></section>`;
  }
  const shown = routes.length > MAX_ROWS ? mostNotable(routes) : routes;
  const rest = restOf(routes, shown, '. Those with problems and with the most requests come first.');
  return html`<section id="routes" aria-labelledby="routes-title">${heading}
<p class="legend">Last 15 minutes. A bar is half a minute: <span class="key passed">up, below 400</span>
<span class="key client">down, 4xx of the backend</span> <span class="key server">5xx</span>
<span class="key refused">4xx of cambist</span></p>
<table class="routes" role="table">${groupedHead('Route', GROUPS)}
${shown.map((route) => routeRows(route, chartOf(route.name), failures))}</table>${rest}</section>`;
}

/** @param first header of the names */
function groupedHead(first: string, groups: Groups): Markup {
  return html`<thead role="rowgroup">
<tr role="row"><th role="columnheader" rowspan="2" scope="col">${first}</th><th role="columnheader" rowspan="2" scope="col">State</th><th role="columnheader" rowspan="2" scope="col"><span class="unseen">Chart</span></th>
${groups.map(([group, ...columns]) => html`<th role="columnheader" colspan="${columns.length}" scope="colgroup" class="group">${group}</th>`)}</tr>
<tr role="row">${groups.map(
    ([, ...columns]) =>
      html`${columns.map((column, at) => html`<th role="columnheader" scope="col" class="figure${at === 0 ? ' first' : ''}">${column}</th>`)}`,
  )}</tr>
</thead>`;
}

function routeRows(route: RouteStatus, chart: Charts['responses'], failures: readonly FailureStatus[]): Markup {
  const { name, state, status, recent } = route;
  const { responses } = recent;
  const word = state === 'only_4xx' && status !== undefined ? `only ${status}` : WORDS[state];
  const other = responses.other === 0 ? '' : ` +${count(responses.other)} other`;
  const cells = [
    cell('Requests', count(recent.requests), 'first'),
    cell('Cached', percent(recent.served_from_cache, recent.needed_token)),
    ...openCells(route),
    cell('2xx', `${count(responses['2xx'])}${other}`, 'first'),
    cell('3xx', responses['3xx']),
    cell('4xx', responses['4xx'], responses['4xx'] > 0 ? 'warn' : ''),
    ...lastCells(recent),
  ];
  return html`<tbody role="rowgroup" id="route-${name}">
<tr role="row" class="figures"><th role="rowheader" scope="rowgroup">${name}</th><td role="cell" class="state">${pill(MOODS[state], word)}</td><td role="cell" class="chart">${responseBars(paired(chart))}</td>
${cells}</tr>
<tr role="row" class="about"><td role="cell" colspan="${columnsOf(GROUPS)}">${where(route)}${lastFailure(name, failures)}</td></tr>
</tbody>
`;
}

function openCells({ in_flight: inFlight, open_streams: streams }: Figures): Markup[] {
  return [cell('In flight', inFlight), cell('Streams', streams)];
}

/** Errors, and response times. */
function lastCells({ responses, p50_ms: p50, p95_ms: p95, p99_ms: p99 }: RecentFigures): Markup[] {
  const backend = backendFailures(responses);
  return [
    cell('5xx', backend, backend > 0 ? 'bad' : ''),
    cell('own 4xx', responses.refused, 'first'),
    cell('own 5xx', responses.failed, responses.failed > 0 ? 'bad' : ''),
    cell('p50', duration(p50), 'first'),
    cell('p95', duration(p95)),
    cell('p99', duration(p99)),
  ];
}

/** @param value a zero is dimmed, because a column of zeros hides the others */
function cell(label: string, value: string | number, kind = ''): Markup {
  const isNothing = value === 0 || value === '0' || value === NONE;
  const text = typeof value === 'number' ? count(value) : value;
  return html`<td role="cell" data-label="${label}" class="figure ${kind}${isNothing ? ' nothing' : ''}">${text}</td>`;
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

const CALLER_GROUPS: Groups = [
  ['Requests', 'All', 'In flight', 'Streams'],
  ['Agent', '4xx', '5xx'],
  ['cambist', '4xx', '5xx'],
  ['Response time', 'p50', 'p95', 'p99'],
];

/** The requests of callers, in the form of a route. Nothing without `inbound`. */
export function inboundTable(inbound: InboundStatus | undefined, chart: Charts['inbound']): Markup | undefined {
  if (inbound === undefined) return undefined;
  const { agent, state, recent, handles, detached } = inbound;
  const cells = [
    cell('Requests', count(recent.requests), 'first'),
    ...openCells(inbound),
    cell('4xx', recent.responses['4xx'], 'first'),
    ...lastCells(recent),
  ];
  return html`<section id="inbound" aria-labelledby="inbound-title"><h2 id="inbound-title">Callers of the agent</h2>
<table class="routes" role="table">${groupedHead('Agent', CALLER_GROUPS)}
<tbody role="rowgroup">
<tr role="row" class="figures"><th role="rowheader" scope="rowgroup"><code>${agent}</code></th><td role="cell" class="state">${pill(MOODS[state], WORDS[state])}</td><td role="cell" class="chart">${responseBars(paired(chart))}</td>
${cells}</tr>
<tr role="row" class="about"><td role="cell" colspan="${columnsOf(CALLER_GROUPS)}"><p>${count(handles.entries)} of ${count(handles.max_entries)} handles.
Used after their request: <span${detached.refused > 0 ? html` class="warn"` : undefined}>${count(detached.refused)} refused</span>, ${count(detached.allowed)} allowed</p></td></tr>
</tbody></table></section>`;
}

const TEAM_COLUMNS = ['Team', 'State', '#Routes', '#Files', 'Invalid file'];

/** Closed regions come first. Nothing without `routes_from`. */
export function teamsTable(teams: StatusReport['teams']): Markup | undefined {
  if (teams === undefined) return undefined;
  const shown = teams.toSorted((one, other) => Number(one.open) - Number(other.open)).slice(0, MAX_ROWS);
  const rows = shown.map(
    ({ name, open, routes, files, invalid: [first, ...more] }) => html`<tr role="row">
<th role="rowheader" scope="row">${name}</th>
<td role="cell" data-label="State">${open ? pill('good', 'open') : pill('bad', 'closed')}</td>
${[cell('Routes', routes), cell('Files', files)]}
<td role="cell" data-label="Invalid file" class="prose">${first === undefined ? undefined : html`<code>${first.cause}</code> <span class="dim">(since ${time(first.since)}, ${counted(first.errors, 'error')}${more.length === 0 ? '' : `, and ${counted(more.length, 'more file')}`})</span>`}</td>
</tr>
`,
  );
  return table('teams', 'Teams', TEAM_COLUMNS, rows, '', restOf(teams, shown));
}

const AGENT_COLUMNS = ['Agent', '#Requests since the start', '#401', '#403', '#In flight', '#Connections'];

/** The agents with the most requests come first. Nothing without `agents`. */
export function agentsTable(agents: readonly AgentStatus[] | undefined): Markup | undefined {
  if (agents === undefined) return undefined;
  const shown = agents.toSorted((one, other) => other.requests - one.requests).slice(0, MAX_ROWS);
  const rows = shown.map(
    ({ name, requests, unauthorized, forbidden, in_flight: inFlight, connections }) => html`<tr role="row">
<th role="rowheader" scope="row">${name}</th>
${[
  cell('Requests', requests),
  cell('401', unauthorized, unauthorized > 0 ? 'warn' : ''),
  cell('403', forbidden, forbidden > 0 ? 'warn' : ''),
  cell('In flight', inFlight),
  cell('Connections', connections),
]}
</tr>
`,
  );
  return table('agents', 'Agents', AGENT_COLUMNS, rows, '', restOf(agents, shown));
}

function restOf(all: readonly unknown[], { length }: readonly unknown[], order = ''): Markup | undefined {
  if (length === all.length) return undefined;
  return html`<p class="more">and ${count(all.length - length)} more in <a href="status.json">/status.json</a>${order}</p>`;
}

const DECISION_COLUMNS = ['Route', 'Response', 'Time', 'Cache', '#Exchange', 'Requested', 'Issued'];

/** Further rows would bury the rest of the page. */
const SHOWN = 5;

/** @param rows the earliest first; undefined for readers on other machines */
export function decisionsTable(rows: readonly DecisionRow[] | undefined): Markup {
  if (rows === undefined) {
    return table('decisions', 'Last requests', DECISION_COLUMNS, [], 'Shown on this machine only.');
  }
  const latest = rows.toReversed().map(decisionRow);
  const more = latest.slice(SHOWN);
  const rest =
    more.length === 0
      ? undefined
      : html`<details id="more-decisions"><summary>${count(more.length)} more</summary>${rowsTable(DECISION_COLUMNS, more)}</details>`;
  return table('decisions', 'Last requests', DECISION_COLUMNS, latest.slice(0, SHOWN), 'None yet.', rest);
}

function decisionRow(row: DecisionRow): Markup {
  const { agent, matched, status, error, outcome, cache, exchange_ms: exchangeMs, requested, granted } = row;
  const mood = status >= 500 ? 'bad' : status >= 400 ? 'warn' : 'good';
  return html`<tr role="row">
<th role="rowheader" scope="row">${routeOf(row)}${matched === undefined ? undefined : html`<p class="more">${matched}</p>`}${agent === undefined ? undefined : html`<p class="more">agent ${agent}</p>`}</th>
<td role="cell" data-label="Response" class="whole"><span class="response">${pill(mood, String(status))} <code>${error ?? outcome}</code></span></td>
<td role="cell" data-label="Time" class="whole">${time(row.time)}</td>
<td role="cell" data-label="Cache">${cache ?? NONE}</td>
<td role="cell" data-label="Exchange" class="figure">${duration(exchangeMs)}</td>
<td role="cell" data-label="Requested" class="whole target">${target([...(requested?.resource ?? []), ...(requested?.audience ?? [])], requested?.scope)}</td>
<td role="cell" data-label="Issued" class="whole target">${target(granted?.audience ?? [], granted?.scope)}</td>
</tr>
`;
}

function target(audience: readonly string[], scope: string | undefined): Markup {
  const isEmpty = audience.length === 0 && scope === undefined;
  if (isEmpty) return html`${NONE}`;
  return html`${codes(audience)}${scope === undefined ? undefined : html` scope <code>${scope}</code>`}`;
}
