import { backendFailures } from '../observability/response-classes.ts';
import { paired, responseBars } from './charts.ts';
import { html, type Markup } from './markup.ts';
import { count, duration, pill } from './page-parts.ts';
import { cell, columnsOf, type Groups, groupedHead, MOODS, WORDS } from './page-routes.ts';
import type { Charts, InboundStatus } from './status.ts';

const GROUPS: Groups = [
  ['Requests', 'All', 'In flight', 'Streams'],
  ['Agent', '4xx', '5xx'],
  ['cambist', '4xx', '5xx'],
  ['Response time', 'p50', 'p95', 'p99'],
];

/** The requests of callers, in the form of a route. Nothing without `inbound`. */
export function inboundTable(inbound: InboundStatus | undefined, chart: Charts['inbound']): Markup | undefined {
  if (inbound === undefined) return undefined;
  const { agent, state, recent, handles, detached, in_flight: inFlight, open_streams: streams } = inbound;
  const { responses } = recent;
  const cells = [
    cell('Requests', count(recent.requests), 'first'),
    cell('In flight', inFlight),
    cell('Streams', streams),
    cell('4xx', responses['4xx'], 'first'),
    cell('5xx', backendFailures(responses), backendFailures(responses) > 0 ? 'bad' : ''),
    cell('own 4xx', responses.refused, 'first'),
    cell('own 5xx', responses.failed, responses.failed > 0 ? 'bad' : ''),
    cell('p50', duration(recent.p50_ms), 'first'),
    cell('p95', duration(recent.p95_ms)),
    cell('p99', duration(recent.p99_ms)),
  ];
  return html`<section id="inbound" aria-labelledby="inbound-title"><h2 id="inbound-title">Callers of the agent</h2>
<table class="routes" role="table">${groupedHead('Agent', GROUPS)}
<tbody role="rowgroup">
<tr role="row" class="figures"><th role="rowheader" scope="rowgroup"><code>${agent}</code></th><td role="cell" class="state">${pill(MOODS[state], WORDS[state])}</td><td role="cell" class="chart">${responseBars(paired(chart))}</td>
${cells}</tr>
<tr role="row" class="about"><td role="cell" colspan="${columnsOf(GROUPS)}"><p>${count(handles.entries)} of ${count(handles.max_entries)} handles.
Used after their request: <span${detached.refused > 0 ? html` class="warn"` : undefined}>${count(detached.refused)} refused</span>, ${count(detached.allowed)} allowed</p></td></tr>
</tbody></table></section>`;
}
