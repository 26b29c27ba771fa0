import { add, expect, type Tally } from '../observability/counters.ts';
import { counter, gauge, type MetricFamily, sample, samplesOf } from '../observability/metric-families.ts';

/** The ways by which signals arrive. */
export type Channel = 'push' | 'logout';

/**
 * `applied`: something was revoked. `unchanged`: it was revoked before, or is too long ago. `ignored`: an event that revokes nothing.
 * `refused`: invalid or unauthenticated. `failed`: cambist could not check it.
 */
export const SIGNAL_RESULTS = ['applied', 'unchanged', 'ignored', 'refused', 'failed'] as const;
export type SignalResult = (typeof SIGNAL_RESULTS)[number];

/** Everything that `signals` counts. */
export interface SignalCounts {
  received(transmitter: string, channel: Channel, result: SignalResult): void;
  families(revocations: () => number): MetricFamily[];
}

/** @param channels of each transmitter */
export function createSignalCounts(channels: Readonly<Record<string, readonly Channel[]>>): SignalCounts {
  const results = new Map<string, { transmitter: string; channel: Channel; tally: Tally<SignalResult> }>();
  for (const [transmitter, used] of Object.entries(channels)) {
    for (const channel of used) {
      results.set(`${channel} ${transmitter}`, { transmitter, channel, tally: expect({}, SIGNAL_RESULTS) });
    }
  }
  return {
    received(transmitter, channel, result) {
      const entry = results.get(`${channel} ${transmitter}`);
      if (entry !== undefined) add(entry.tally, result);
    },
    families: (revocations) => [
      counter('cambist_signals_total', 'Signals of transmitters about revoked tokens, by result.', () =>
        [...results.values()].flatMap(({ transmitter, channel, tally }) =>
          samplesOf(tally, (result) => ({ transmitter, channel, result })),
        ),
      ),
      gauge('cambist_revocations', 'Revocations in force.', () => [sample({}, revocations())]),
    ],
  };
}
