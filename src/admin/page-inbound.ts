import { paired, responseBars } from './charts.ts';
import { html, type Markup } from './markup.ts';
import { count, duration, pill, table } from './page-parts.ts';
import { cell, MOODS, WORDS } from './page-routes.ts';
import type { Charts, InboundStatus } from './status.ts';

const COLUMNS = [
  ...['Agent', 'State', '', '#Requests', '#In flight', '#Streams', '#Agent 4xx', '#Agent 5xx', '#cambist 4xx'],
  ...['#cambist 5xx', '#p50', '#p95', '#p99', '#Handles', '#Used after their request'],
];

/** The requests of callers. Nothing without `inbound`. */
export function inboundTable(inbound: InboundStatus | undefined, chart: Charts['inbound']): Markup | undefined {
  if (inbound === undefined) return undefined;
  const { agent, state, recent, handles, detached, in_flight: inFlight, open_streams: streams } = inbound;
  const { responses } = recent;
  const isRefused = detached.refused > 0;
  const row = html`<tr role="row">
<th role="rowheader" scope="row"><code>${agent}</code></th>
<td role="cell" data-label="State">${pill(MOODS[state], WORDS[state])}</td>
<td role="cell" class="chart">${responseBars(paired(chart))}</td>
${[
  cell('Requests', count(recent.requests)),
  cell('In flight', inFlight),
  cell('Streams', streams),
  cell('Agent 4xx', responses['4xx']),
  cell('Agent 5xx', responses['5xx'], responses['5xx'] > 0 ? 'bad' : ''),
  cell('own 4xx', responses.refused),
  cell('own 5xx', responses.failed, responses.failed > 0 ? 'bad' : ''),
  cell('p50', duration(recent.p50_ms)),
  cell('p95', duration(recent.p95_ms)),
  cell('p99', duration(recent.p99_ms)),
  cell('Handles', `${count(handles.entries)} of ${count(handles.max_entries)}`),
  cell(
    'After their request',
    `${count(detached.refused)} refused, ${count(detached.allowed)} allowed`,
    isRefused ? 'warn' : '',
  ),
]}</tr>
`;
  return table('inbound', 'Callers of the agent', COLUMNS, [row], '');
}
