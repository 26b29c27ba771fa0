import { html, type Markup } from './markup.ts';
import { counted, NONE, pill, table, time } from './page-parts.ts';
import type { StatusReport } from './status.ts';

const COLUMNS = ['Transmitter', 'State', 'Channels', 'Last signal', 'Last poll'];

/** The transmitters of revocations. Nothing without `signals`. */
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
  return table(
    'signals',
    `Transmitters, with ${counted(signals.revocations, 'revocation')} in force`,
    COLUMNS,
    rows,
    '',
  );
}
