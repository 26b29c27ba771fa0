import { fixOf } from '../observability/recent-failures.ts';
import { html, type Markup } from './markup.ts';
import type { FailureStatus, Figures, RouteStatus, ServerStatus, StatusReport } from './status.ts';

/**
 * Renders the status page. It is complete without its script. The script updates the numbers: the element of each names its
 * path in `/status.json` and its format.
 */
export function statusPage(report: StatusReport): string {
  const { version, ready } = report;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>cambist: ${ready ? 'ready' : 'not ready'}</title>
<link rel="icon" href="icon.svg">
<link rel="stylesheet" href="status.css">
<script src="status.js" defer></script>
</head>
<body>
<header>
<h1><img src="icon.svg" alt="" width="28" height="28">cambist <small>${version}</small></h1>
${pill(ready ? 'good' : 'bad', ready ? 'ready' : 'not ready')}
<p id="live" role="status">as of the time when this page was loaded</p>
</header>
<main>
${attention(report)}
${tiles(report)}
${authorizationServers(report.authorization_servers)}
${routes(report.routes)}
${failures(report.failures)}
${config(report)}
</main>
<footer>Numbers since the process started at ${time(report.started_at)}. More at <a href="metrics">/metrics</a>,
<a href="readyz">/readyz</a> and <a href="status.json">/status.json</a>.</footer>
</body>
</html>
`.text;
}

type Mood = 'good' | 'bad' | 'idle';

/** Shows a state by a sign and a word as well as by colour. */
function pill(mood: Mood, word: string): Markup {
  const sign = { good: '●', bad: '▲', idle: '○' }[mood];
  return html`<span class="pill ${mood}"><span aria-hidden="true">${sign}</span> ${word}</span>`;
}

function figure(path: string, value: number | undefined, as: 'count' | 'ms' = 'count'): Markup {
  return html`<span data-figure="${path}" data-as="${as}">${written(value, as)}</span>`;
}

function written(value: number | undefined, as: 'count' | 'ms'): string {
  if (value === undefined) return '–';
  return as === 'ms' ? `${value.toLocaleString('en')} ms` : value.toLocaleString('en');
}

function ratio(path: string, part: string, whole: string, figures: Figures): Markup {
  const { served_from_cache: served, needed_token: needed } = figures;
  return html`<span data-part="${path}.${part}" data-whole="${path}.${whole}">${percent(served, needed)}</span>`;
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '–' : `${Math.floor((100 * part) / whole)} %`;
}

function time(iso: string): Markup {
  return html`<time datetime="${iso}">${iso.slice(0, 19).replace('T', ' ')} UTC</time>`;
}

function codes(names: readonly string[]): Markup {
  return html`${names.map((name, index) => html`${index === 0 ? '' : ', '}<code>${name}</code>`)}`;
}

/** The current problems and their fixes. */
function attention({ missing, authorization_servers: servers, config: served }: StatusReport): Markup | undefined {
  const item = (problem: Markup, fix: string | undefined): Markup => html`<li>${problem} ${fix}</li>\n`;
  const items = [
    ...missing.map(({ check, status, fix }) =>
      item(html`<code>${check}</code> is not ready yet: <code>${status}</code>.`, fix),
    ),
    ...servers
      .filter(({ state }) => state === 'down')
      .map(({ name }) =>
        item(html`Authorization server <strong>${name}</strong> is down.`, fixOf('ERR_STS_UNAVAILABLE')),
      ),
    ...(served.last_reload?.result === 'failure'
      ? [item(html`The last config reload failed. The previous config stays in use.`, RELOAD_FIX)]
      : []),
    ...(served.waits_for_restart.length > 0
      ? [item(html`Changed in the config file, but not in effect: ${codes(served.waits_for_restart)}.`, RESTART_FIX)]
      : []),
  ];
  if (items.length === 0) return undefined;
  return html`<section class="attention"><h2>Needs attention</h2><ul>${items}</ul></section>`;
}

const RESTART_FIX = 'Restart cambist to apply the change.';

const RELOAD_FIX = 'The log has each problem with its line. Run "cambist validate" before the next attempt.';

function tiles({ totals, cache, authorization_servers: servers }: StatusReport): Markup {
  const exchanges = servers.reduce((sum, server) => sum + server.exchanges, 0);
  const tile = (name: string, value: Markup, more: Markup, rate?: string): Markup => html`<div class="tile">
<h3>${name}</h3><p class="value">${value}</p><p class="more">${more}</p>
${rate === undefined ? undefined : html`<p class="rate" data-rate="${rate}"></p>`}
</div>
`;
  return html`<section class="tiles" aria-label="Numbers">
${tile('Requests', figure('totals.requests', totals.requests), html`${figure('totals.in_flight', totals.in_flight)} in flight`, 'totals.requests')}
${tile('Own errors', figure('totals.failures', totals.failures), html`and ${figure('totals.backend_errors', totals.backend_errors)} of backends`, 'totals.failures')}
${tile('Exchanges', html`<span data-sum="authorization_servers.exchanges">${written(exchanges, 'count')}</span>`, html`token requests`, 'exchanges')}
${tile('Served from cache', ratio('totals', 'served_from_cache', 'needed_token', totals), html`of ${figure('totals.needed_token', totals.needed_token)} that needed a token`)}
${tile('Tokens in the cache', figure('cache.entries', cache.entries), html`of at most ${figure('cache.max_entries', cache.max_entries)}`)}
${tile('Open streams', figure('totals.open_streams', totals.open_streams), html`of server-sent events`)}
</section>`;
}

const SERVER_MOOD: Readonly<Record<ServerStatus['state'], Mood>> = {
  available: 'good',
  down: 'bad',
  'not found': 'bad',
};

function authorizationServers(servers: readonly ServerStatus[]): Markup {
  const rows = servers.map(
    ({ name, state, exchanges, failures: failed, mean_ms: mean }, index) => html`<tr>
<th scope="row">${name}</th>
<td data-label="State">${pill(SERVER_MOOD[state], state)}</td>
<td data-label="Exchanges" class="figure">${figure(`authorization_servers.${index}.exchanges`, exchanges)}</td>
<td data-label="Failed" class="figure">${figure(`authorization_servers.${index}.failures`, failed)}</td>
<td data-label="Mean time" class="figure">${figure(`authorization_servers.${index}.mean_ms`, mean, 'ms')}</td>
</tr>
`,
  );
  const columns = ['Name', 'State', '#Exchanges', '#Failed', '#Mean time'];
  return table('Authorization servers', columns, rows, 'No route uses one.');
}

function routes(all: readonly RouteStatus[]): Markup {
  const rows = all.map((route, index) => {
    const cell = (label: string, field: Exclude<keyof Figures, 'served_from_cache' | 'needed_token'>): Markup =>
      html`<td data-label="${label}" class="figure">${figure(`routes.${index}.${field}`, route[field])}</td>`;
    const servers =
      route.authorization_servers.length === 0 ? '' : ` at ${route.authorization_servers.join(', then ')}`;
    return html`<tr>
<th scope="row">${route.name}</th>
<td data-label="Credential" class="whole"><span><code>${route.credential}</code>${servers}</span></td>
${cell('Requests', 'requests')}
${cell('Own errors', 'failures')}
${cell('Backend errors', 'backend_errors')}
${cell('In flight', 'in_flight')}
${cell('Streams', 'open_streams')}
<td data-label="From cache" class="figure">${ratio(`routes.${index}`, 'served_from_cache', 'needed_token', route)}</td>
</tr>
`;
  });
  const columns = [
    'Name',
    'Credential',
    '#Requests',
    '#Own errors',
    '#Backend errors',
    '#In flight',
    '#Streams',
    '#From cache',
  ];
  return table('Routes', columns, rows, 'No routes.');
}

function failures(all: readonly FailureStatus[]): Markup {
  const rows = all.map(
    ({ route, error, fix, count, last_at: lastAt }, index) => html`<tr>
<th scope="row">${route ?? 'no route'}</th>
<td data-label="Error" class="whole"><code>${error}</code></td>
<td data-label="Last" class="whole">${time(lastAt)}</td>
<td data-label="Times" class="figure whole">${figure(`failures.${index}.count`, count)}</td>
<td data-label="Fix" class="prose">${fix}</td>
</tr>
`,
  );
  const columns = ['Route', 'Error', 'Last', '#Times', 'Fix'];
  return table('Recent failures', columns, rows, 'None since the process started.');
}

function config({ config: served, credentials }: StatusReport): Markup {
  const { version, loaded_at: loadedAt, waits_for_restart: waiting, last_reload: reload } = served;
  const applied = waiting.length === 0 ? pill('good', 'applied') : pill('idle', 'applied in part');
  const last =
    reload === undefined
      ? html`none yet`
      : html`${time(reload.at)} ${reload.result === 'success' ? applied : pill('bad', 'failed')}`;
  const expiries = credentials.map(
    ({ name, expires_at: expiresAt }) => html`<div><dt>Expiry of the ${name}</dt><dd>${time(expiresAt)}</dd></div>\n`,
  );
  return html`<section><h2>Config</h2><dl>
<div><dt>Active version</dt><dd><code>${version}</code></dd></div>
<div><dt>Loaded</dt><dd>${time(loadedAt)}</dd></div>
<div><dt>Last reload</dt><dd>${last}</dd></div>
${waiting.length === 0 ? undefined : html`<div><dt>Needs a restart</dt><dd>${codes(waiting)}</dd></div>\n`}${expiries}</dl></section>`;
}

/** @param columns names of number columns begin with `#` */
function table(title: string, columns: readonly string[], rows: readonly Markup[], empty: string): Markup {
  if (rows.length === 0) return html`<section><h2>${title}</h2><p class="empty">${empty}</p></section>`;
  const headers = columns.map((column) =>
    column.startsWith('#') ? html`<th class="figure">${column.slice(1)}</th>` : html`<th>${column}</th>`,
  );
  return html`<section><h2>${title}</h2>
<table><thead><tr>${headers}</tr></thead><tbody>
${rows}</tbody></table></section>`;
}
