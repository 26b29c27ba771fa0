import { add, expect, type Tally } from '../observability/counters.ts';
import { counter, gauge, type MetricFamily, sample, samplesOf } from '../observability/metric-families.ts';
import type { TransmitterHealth } from './health.ts';

/** The ways by which signals arrive. */
export type Channel = 'push' | 'poll' | 'logout';

/**
 * `applied`: something was revoked. `unchanged`: it was revoked before, or is too long ago. `ignored`: an event that revokes nothing.
 * `refused`: invalid or unauthenticated. `failed`: cambist could not check it.
 */
const SIGNAL_RESULTS = ['applied', 'unchanged', 'ignored', 'refused', 'failed'] as const;
export type SignalResult = (typeof SIGNAL_RESULTS)[number];

const POLL_RESULTS = ['success', 'failure'] as const;

/** Everything that `signals` counts. */
export interface SignalCounts {
  received(transmitter: string, channel: Channel, result: SignalResult): void;
  polled(transmitter: string, result: (typeof POLL_RESULTS)[number]): void;
  families(revocations: () => number, health: ReadonlyMap<string, ShownHealth>): MetricFamily[];
}

type ShownHealth = Pick<TransmitterHealth, 'isAvailable' | 'lastSignalMs'>;

/** @param channels of each transmitter */
export function createSignalCounts(channels: Readonly<Record<string, readonly Channel[]>>): SignalCounts {
  const polls = new Map<string, Tally<(typeof POLL_RESULTS)[number]>>();
  const results = new Map<string, { transmitter: string; channel: Channel; tally: Tally<SignalResult> }>();
  for (const [transmitter, used] of Object.entries(channels)) {
    if (used.includes('poll')) polls.set(transmitter, expect({}, POLL_RESULTS));
    for (const channel of used) {
      results.set(`${channel} ${transmitter}`, { transmitter, channel, tally: expect({}, SIGNAL_RESULTS) });
    }
  }
  return {
    received(transmitter, channel, result) {
      const entry = results.get(`${channel} ${transmitter}`);
      if (entry !== undefined) add(entry.tally, result);
    },
    polled(transmitter, result) {
      const tally = polls.get(transmitter);
      if (tally !== undefined) add(tally, result);
    },
    families: (revocations, health) => [
      counter('cambist_signals_total', 'Signals of transmitters about revoked tokens, by result.', () =>
        [...results.values()].flatMap(({ transmitter, channel, tally }) =>
          samplesOf(tally, (result) => ({ transmitter, channel, result })),
        ),
      ),
      counter('cambist_signal_polls_total', 'Requests to transmitters for signals, by result.', () =>
        [...polls].flatMap(([transmitter, tally]) => samplesOf(tally, (result) => ({ transmitter, result }))),
      ),
      gauge('cambist_transmitter_available', 'Whether signals of a transmitter can arrive, as far as known.', () =>
        [...health].map(([transmitter, { isAvailable }]) => sample({ transmitter }, isAvailable ? 1 : 0)),
      ),
      gauge('cambist_signal_last_timestamp_seconds', 'Time of the last valid signal. 0 before the first.', () =>
        [...health].map(([transmitter, { lastSignalMs = 0 }]) => sample({ transmitter }, lastSignalMs / 1000)),
      ),
      gauge('cambist_revocations', 'Revocations in force.', () => [sample({}, revocations())]),
    ],
  };
}
