import { LOG_LEVELS } from '../config/config.ts';
import type { LogLevelControl } from '../observability/log-level.ts';
import { backendFailures, type ResponseClasses } from '../observability/response-classes.ts';
import { bars, responseBars } from './charts.ts';
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
  table,
  time,
} from './page-parts.ts';
import { type Problem, problemsOf, reasonOf } from './page-problems.ts';
import { agentsTable, decisionsTable, inboundTable, routesTable, teamsTable } from './page-tables.ts';
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
${dataPlanes(report.data_planes)}
${authorizationServers(report.authorization_servers)}
${signalsTable(report.signals)}
${failures(report.failures)}
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
  return html`<section id="attention" class="attention" aria-labelledby="attention-title"><h2 id="attention-title">Needs attention</h2><ul>
${problems.slice(0, MAX_PROBLEMS).map(({ text, fix }) => html`<li>${text} ${fix}</li>\n`)}</ul>${
    more > 0 ? html`<p class="more">and ${count(more)} more</p>` : undefined
  }</section>`;
}

function tiles({ totals, recent, cache, shared_cache: shared }: StatusReport, { responses, p95Ms }: Charts): Markup {
  const { '4xx': clientErrors, refused, failed } = recent.responses;
  const tile = (name: string, value: string, more: string, content: Markup): Markup => html`<div class="tile">
<h3>${name}</h3><p class="value">${value}</p><p class="more">${more}</p>
${content}</div>
`;
  const chart = (kind: Parameters<typeof bars>[0], of: (one: ResponseClasses) => number) =>
    bars(kind, responses.map(of));
  const inTotal = (name: keyof typeof totals): string => `${count(totals[name])} since the start`;
  const streams = `, ${count(totals.open_streams)} ${totals.open_streams === 1 ? 'stream' : 'streams'}`;
  return html`<section id="tiles" aria-labelledby="tiles-title"><h2 id="tiles-title">Last 15 minutes</h2><div class="tiles">
${tile('Requests', count(recent.requests), `${count(totals.in_flight)} in flight${streams}`, responseBars(responses))}
${tile(
  'Errors of cambist',
  count(failed),
  `5xx; ${inTotal('failed')}`,
  chart('server', (one) => one.failed),
)}
${tile(
  'Errors of backends',
  count(backendFailures(recent.responses)),
  `5xx or none; and ${count(clientErrors)} with 4xx`,
  chart('server', backendFailures),
)}
${tile(
  'Refused to callers',
  count(refused),
  `4xx; ${inTotal('refused')}`,
  chart('refused', (one) => one.refused),
)}
${tile(
  'Response time, p95',
  duration(recent.p95_ms),
  `p50 ${duration(recent.p50_ms)}, p99 ${duration(recent.p99_ms)}`,
  bars(
    'time',
    p95Ms.map((ms) => ms ?? 0),
  ),
)}
${tile('Served from cache', percent(recent.served_from_cache, recent.needed_token), `of ${count(recent.needed_token)} requests`, html`<p class="more">${count(cache.entries)} of ${count(cache.max_entries)} tokens</p>${sharedCache(shared)}`)}
</div></section>`;
}

function sharedCache(shared: StatusReport['shared_cache']): Markup | undefined {
  if (shared === undefined) return undefined;
  const state = shared.available ? pill('good', 'available') : pill('bad', 'unavailable');
  return html`<p class="more">shared cache: ${state}</p>`;
}

function dataPlanes(planes: StatusReport['data_planes']): Markup | undefined {
  if (planes === undefined) return undefined;
  const rows = planes.map(
    ({
      protocol,
      results: { allowed = 0, refused = 0, failed = 0, cancelled = 0, denied = 0 },
      ...times
    }) => html`<tr role="row">
<th role="rowheader" scope="row">${protocol}</th>
<td role="cell" data-label="Allowed" class="figure">${count(allowed)}</td>
<td role="cell" data-label="Refused" class="figure">${count(refused)}</td>
<td role="cell" data-label="Failed" class="figure${failed > 0 ? ' bad' : ''}">${count(failed)}</td>
<td role="cell" data-label="Cancelled" class="figure${cancelled > 0 ? ' bad' : ''}">${count(cancelled)}</td>
<td role="cell" data-label="No secret" class="figure${denied > 0 ? ' bad' : ''}">${count(denied)}</td>
<td role="cell" data-label="p50" class="figure">${duration(times.p50_ms)}</td>
<td role="cell" data-label="p95" class="figure">${duration(times.p95_ms)}</td>
<td role="cell" data-label="p99" class="figure">${duration(times.p99_ms)}</td>
</tr>
`,
  );
  const columns = ['Protocol', '#Allowed', '#Refused', '#Failed', '#Cancelled', '#No secret', '#p50', '#p95', '#p99'];
  return table('data-planes', 'Decisions for data planes, since the start', columns, rows, '');
}

const TRANSMITTER_COLUMNS = ['Transmitter', 'State', 'Channels', 'Last signal', 'Last poll'];

export function signalsTable(signals: StatusReport['signals']): Markup | undefined {
  if (signals === undefined) return undefined;
  const rows = signals.transmitters.map((transmitter) => {
    const { name, channels, available, last_signal_at: lastSignal, last_poll_at: lastPoll } = transmitter;
    const noPoll = channels.includes('poll') ? 'none yet' : NONE;
    return html`<tr role="row">
<th role="rowheader" scope="row">${name}</th>
<td role="cell" data-label="State">${available ? pill('good', 'available') : pill('bad', 'unavailable')}</td>
<td role="cell" data-label="Channels">${channels.join(', ')}</td>
<td role="cell" data-label="Last signal">${lastSignal === undefined ? 'none yet' : time(lastSignal)}</td>
<td role="cell" data-label="Last poll">${lastPoll === undefined ? noPoll : time(lastPoll)}</td>
</tr>
`;
  });
  const title = `Transmitters, with ${counted(signals.revocations, 'revocation')} in force`;
  return table('signals', title, TRANSMITTER_COLUMNS, rows, '');
}

const SERVER_MOOD: Readonly<Record<ServerStatus['state'], Mood>> = {
  available: 'good',
  down: 'bad',
  'not found': 'bad',
};

function authorizationServers(servers: readonly ServerStatus[]): Markup {
  const rows = servers.map(
    ({ name, state, exchanges, failures: failed, p50_ms: p50, p95_ms: p95, p99_ms: p99 }) => html`<tr role="row">
<th role="rowheader" scope="row">${name}</th>
<td role="cell" data-label="State">${pill(SERVER_MOOD[state], state)}</td>
<td role="cell" data-label="Exchanges" class="figure">${count(exchanges)}</td>
<td role="cell" data-label="Failed" class="figure${failed > 0 ? ' bad' : ''}">${count(failed)}</td>
<td role="cell" data-label="p50" class="figure">${duration(p50)}</td>
<td role="cell" data-label="p95" class="figure">${duration(p95)}</td>
<td role="cell" data-label="p99" class="figure">${duration(p99)}</td>
</tr>
`,
  );
  const columns = ['Name', 'State', '#Exchanges since the start', '#Failed', '#p50', '#p95', '#p99'];
  return table('servers', 'Authorization servers', columns, rows, 'No route uses one.');
}

function failures(all: readonly FailureStatus[]): Markup {
  const rows = all.map((failure) => {
    const { error, status, title, count: times, last_at: lastAt } = failure;
    return html`<tr role="row">
<th role="rowheader" scope="row">${routeOf(failure)}</th>
<td role="cell" data-label="Response" class="whole"><span class="response">${status < 500 ? pill('warn', String(status)) : pill('bad', String(status))} <code>${error}</code></span></td>
<td role="cell" data-label="Last" class="whole">${time(lastAt)}</td>
<td role="cell" data-label="Times" class="figure whole">${count(times)}</td>
<td role="cell" data-label="Fix" class="prose"><strong>${title}.</strong> ${reasonOf(failure)}</td>
</tr>
`;
  });
  const columns = ['Route', 'Response of cambist', 'Last', '#Times', 'Reason and fix'];
  return table('failures', 'Recent failures and refusals', columns, rows, 'None since the process started.');
}

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
  return html`<section id="config" aria-labelledby="config-title"><h2 id="config-title">Config and log</h2><dl>
<div><dt>Active version</dt><dd><code>${version}</code></dd></div>
<div><dt>Loaded</dt><dd>${time(loadedAt)}</dd></div>
<div><dt>Last reload</dt><dd>${last}</dd></div>
<div><dt>${local === undefined ? 'Log level' : html`<label for="level">Log level</label>`}</dt><dd>${logLevelControl(logLevel, local !== undefined)}</dd></div>
${waiting.length === 0 ? undefined : html`<div><dt>Needs a restart</dt><dd>${codes(waiting)}</dd></div>\n`}${expiries}</dl>
${effectiveConfig(local)}</section>`;
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
