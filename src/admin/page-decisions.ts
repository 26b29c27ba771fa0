import type { DecisionRow } from './decisions.ts';
import { html, type Markup } from './markup.ts';
import { codes, count, duration, NONE, pill, rowsTable, table, time } from './page-parts.ts';

const COLUMNS = ['Route', 'Response', 'Time', 'Cache', '#Exchange', 'Requested', 'Issued'];

/** More would bury what follows. */
const SHOWN = 5;

/** @param rows the earliest first; undefined for readers on other machines */
export function decisionsTable(rows: readonly DecisionRow[] | undefined): Markup {
  if (rows === undefined) {
    return table('decisions', 'Last requests', COLUMNS, [], 'Shown on this machine only.');
  }
  const latest = rows.toReversed().map(decisionRow);
  const more = latest.slice(SHOWN);
  const rest =
    more.length === 0
      ? undefined
      : html`<details id="more-decisions"><summary>${count(more.length)} more</summary>${rowsTable(COLUMNS, more)}</details>`;
  return table('decisions', 'Last requests', COLUMNS, latest.slice(0, SHOWN), 'None yet.', rest);
}

function decisionRow(row: DecisionRow): Markup {
  const { route, matched, status, error, outcome, cache, exchange_ms: exchangeMs, requested, granted } = row;
  const mood = status >= 500 ? 'bad' : status >= 400 ? 'warn' : 'good';
  return html`<tr role="row">
<th role="rowheader" scope="row">${route ?? 'no route'}${matched === undefined ? undefined : html`<p class="more">${matched}</p>`}</th>
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
