import { LOG_LEVELS } from '../config/config.ts';
import type { LogLevelControl } from '../observability/log-level.ts';
import { backendFailures } from '../observability/response-classes.ts';
import { bars, responseBars } from './charts.ts';
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
  section,
  table,
  time,
} from './page-parts.ts';
import { type Problem, problemsOf, reasonOf } from './page-problems.ts';
import { agentsTable, decisionsTable, inboundTable, routesTable, statusPill, teamsTable } from './page-tables.ts';
import type { DataPlaneStatus } from './route-status.ts';
import type { Charts, FailureStatus, ServerStatus, StatusReport } from './status-report.ts';

export interface PageContent {
  readonly report: StatusReport;
  readonly charts: Charts;
  readonly logLevel: Pick<LogLevelControl, 'level' | 'configured'>;
  /** Readers on other machines see neither config nor single requests, and cannot change the log level. */
  readonly local: { readonly config: string | undefined; readonly decisions: readonly DecisionRow[] } | undefined;
}

/** Renders the status page. It is complete without its script, which fetches it again and applies what changed. */
export function statusPage(content: PageContent): string {
  const { report, charts } = content;
  const problems = [...problemsOf(report)];
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>cambist on ${report.host}: ${headline(report, problems)}</title>
<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="status.css">
<script src="status.js" defer></script>
</head>
<body>
<header>
<h1><img src="icon.svg" alt="" width="28" height="28">cambist <small>${report.version} on ${report.host}</small></h1>
<p id="summary">${pill(mood(report, problems), headline(report, problems))}</p>
<p id="live"><span id="connection" role="status">as of</span> <span id="clock">${time(report.at)}</span> <span id="zone"></span></p>
</header>
<main>
${attention(problems)}
${tiles(report, charts)}
${routesTable(report.routes, charts.route, report.failures)}
${teamsTable(report.teams)}
${agentsTable(report.agents)}
${inboundTable(report.inbound, charts.inbound)}
${report.data_planes && table('data-planes', 'Decisions for data planes, since the start', DATA_PLANE_COLUMNS, report.data_planes)}
${table('servers', 'Authorization servers', SERVER_COLUMNS, report.authorization_servers, { empty: 'No route uses one.' })}
${signalsTable(report.signals)}
${table('failures', 'Recent failures and refusals', FAILURE_COLUMNS, report.failures, { empty: 'None since the process started.' })}
${decisionsTable(content.local?.decisions)}
${config(content)}
</main>
<footer>Started at ${time(report.started_at)}. More at <a href="metrics">/metrics</a>, <a href="readyz">/readyz</a> and
<a href="status.json">/status.json</a>.</footer>
</body>
</html>
`.text;
}

function headline({ ready }: StatusReport, problems: readonly Problem[]): string {
  if (!ready) return 'not ready';
  if (problems.length === 0) return 'ready';
  return `ready, but ${problems.length === 1 ? 'one problem' : `${problems.length} problems`}`;
}

function mood({ ready }: StatusReport, problems: readonly Problem[]): Mood {
  if (!ready) return 'bad';
  return problems.length === 0 ? 'good' : 'warn';
}

/** A person fixes these first, and then sees the others. */
const MAX_PROBLEMS = 10;

function attention(problems: readonly Problem[]): Markup | undefined {
  if (problems.length === 0) return undefined;
  const more = problems.length - MAX_PROBLEMS;
  const items = problems.slice(0, MAX_PROBLEMS).map(({ text, fix }) => html`<li>${text} ${fix}</li>\n`);
  const rest = more > 0 ? html`<p class="more">and ${count(more)} more</p>` : undefined;
  return section('attention', 'Needs attention', html`<ul>\n${items}</ul>${rest}`);
}

function tiles({ totals, recent, cache, shared_cache: shared }: StatusReport, { responses, p95Ms }: Charts): Markup {
  const { '4xx': clientErrors, refused, failed } = recent.responses;
  const tile = (name: string, value: string, more: string, content: Markup): Markup => html`<div class="tile">
<h3>${name}</h3><p class="value">${value}</p><p class="more">${more}</p>
${content}</div>
`;
  const failedBars = bars('server', responses, (one) => one.failed);
  const backendBars = bars('server', responses, backendFailures);
  const refusedBars = bars('refused', responses, (one) => one.refused);
  const timeBars = bars('time', p95Ms, (ms) => ms ?? 0);
  const inTotal = (name: keyof typeof totals): string => `${count(totals[name])} since the start`;
  const streams = `, ${count(totals.open_streams)} ${totals.open_streams === 1 ? 'stream' : 'streams'}`;
  const content = html`<div class="tiles">
${tile('Requests', count(recent.requests), `${count(totals.in_flight)} in flight${streams}`, responseBars(responses))}
${tile('Errors of cambist', count(failed), `5xx; ${inTotal('failed')}`, failedBars)}
${tile('Errors of backends', count(backendFailures(recent.responses)), `5xx or none; and ${count(clientErrors)} with 4xx`, backendBars)}
${tile('Refused to callers', count(refused), `4xx; ${inTotal('refused')}`, refusedBars)}
${tile('Response time, p95', duration(recent.p95_ms), `p50 ${duration(recent.p50_ms)}, p99 ${duration(recent.p99_ms)}`, timeBars)}
${tile('Served from cache', percent(recent.served_from_cache, recent.needed_token), `of ${count(recent.needed_token)} requests`, html`<p class="more">${count(cache.entries)} of ${count(cache.max_entries)} tokens</p>${sharedCache(shared)}`)}
</div>`;
  return section('tiles', 'Last 15 minutes', content);
}

function sharedCache(shared: StatusReport['shared_cache']): Markup | undefined {
  if (shared === undefined) return undefined;
  const state = shared.available ? pill('good', 'available') : pill('bad', 'unavailable');
  return html`<p class="more">shared cache: ${state}</p>`;
}

const DATA_PLANE_COLUMNS: readonly Column<DataPlaneStatus>[] = [
  ['Protocol', ({ protocol }) => protocol],
  ['Allowed', ({ results }) => results.allowed ?? 0, 'figure'],
  ['Refused', ({ results }) => results.refused ?? 0, 'figure'],
  ['Failed', ({ results }) => results.failed ?? 0, 'figure bad'],
  ['Cancelled', ({ results }) => results.cancelled ?? 0, 'figure bad'],
  ['No secret', ({ results }) => results.denied ?? 0, 'figure bad'],
  ['p50', (row) => duration(row.p50_ms), 'figure'],
  ['p95', (row) => duration(row.p95_ms), 'figure'],
  ['p99', (row) => duration(row.p99_ms), 'figure'],
];

type Transmitter = NonNullable<StatusReport['signals']>['transmitters'][number];

const TRANSMITTER_COLUMNS: readonly Column<Transmitter>[] = [
  ['Transmitter', ({ name }) => name],
  ['State', ({ available }) => (available ? pill('good', 'available') : pill('bad', 'unavailable'))],
  ['Channels', ({ channels }) => channels.join(', ')],
  ['Last signal', ({ last_signal_at: at }) => (at === undefined ? 'none yet' : time(at))],
  ['Last poll', lastPoll],
];

function lastPoll({ last_poll_at: at, channels }: Transmitter): Markup | string {
  if (at !== undefined) return time(at);
  return channels.includes('poll') ? 'none yet' : NONE;
}

export function signalsTable(signals: StatusReport['signals']): Markup | undefined {
  if (signals === undefined) return undefined;
  const title = `Transmitters, with ${counted(signals.revocations, 'revocation')} in force`;
  return table('signals', title, TRANSMITTER_COLUMNS, signals.transmitters);
}

const SERVER_COLUMNS: readonly Column<ServerStatus>[] = [
  ['Name', ({ name }) => name],
  ['State', ({ state }) => pill(state === 'available' ? 'good' : 'bad', state)],
  ['Exchanges since the start', ({ exchanges }) => exchanges, 'figure'],
  ['Failed', ({ failures }) => failures, 'figure bad'],
  ['p50', (row) => duration(row.p50_ms), 'figure'],
  ['p95', (row) => duration(row.p95_ms), 'figure'],
  ['p99', (row) => duration(row.p99_ms), 'figure'],
];

const FAILURE_COLUMNS: readonly Column<FailureStatus>[] = [
  ['Route', routeOf],
  ['Response of cambist', ({ status, error }) => html`${statusPill(status)} <code>${error}</code>`],
  ['Last', ({ last_at: at }) => time(at)],
  ['Times', (row) => row.count, 'figure'],
  ['Reason and fix', (row) => html`<strong>${row.title}.</strong> ${reasonOf(row)}`, 'prose'],
];

function config({ report, logLevel, local }: PageContent): Markup {
  const { config: served, credentials } = report;
  const { version, loaded_at: loadedAt, waits_for_restart: waiting, last_reload: reload } = served;
  const applied = waiting.length === 0 ? pill('good', 'applied') : pill('warn', 'applied in part');
  const last =
    reload === undefined
      ? html`none yet`
      : html`${time(reload.at)} ${reload.result === 'success' ? applied : pill('bad', 'failed')}`;
  const expiries = credentials.map(
    ({ name, expires_at: expiresAt }) => html`<div><dt>Expiry of the ${name}</dt><dd>${time(expiresAt)}</dd></div>\n`,
  );
  const content = html`<dl>
<div><dt>Active version</dt><dd><code>${version}</code></dd></div>
<div><dt>Loaded</dt><dd>${time(loadedAt)}</dd></div>
<div><dt>Last reload</dt><dd>${last}</dd></div>
<div><dt>${local === undefined ? 'Log level' : html`<label for="level">Log level</label>`}</dt><dd>${logLevelControl(logLevel, local !== undefined)}</dd></div>
${waiting.length === 0 ? undefined : html`<div><dt>Needs a restart</dt><dd>${codes(waiting)}</dd></div>\n`}${expiries}</dl>
${effectiveConfig(local)}`;
  return section('config', 'Config and log', content);
}

/** Without the script, the page shows the level only. */
function logLevelControl({ level, configured }: PageContent['logLevel'], isLocal: boolean): Markup {
  const note = level === configured ? '' : ` until the next restart; configured: ${configured}`;
  const text = html`<span id="level-text">${level}</span><span id="level-note" role="status">${note}</span>`;
  if (!isLocal) return text;
  const choices = LOG_LEVELS.slice(LOG_LEVELS.indexOf(configured));
  return html`<select id="level" hidden>${choices.map((name) =>
    name === level ? html`<option selected>${name}</option>` : html`<option>${name}</option>`,
  )}</select>${text}`;
}

function effectiveConfig(local: PageContent['local']): Markup {
  if (local === undefined) {
    return html`<p class="more">The config is shown on this machine only, for example through kubectl port-forward.</p>`;
  }
  const links = html`<p class="more">The file of the active config, without comments and secrets: <a href="config.yaml">/config.yaml</a>, <a href="config.json">/config.json</a></p>`;
  if (local.config === undefined) return links;
  return html`${links}<details id="effective"><summary>Show it here</summary><pre tabindex="0" aria-label="Active config"><code>${local.config}</code></pre></details>`;
}
