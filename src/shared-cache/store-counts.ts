import { add, createHistogram, expect, observe, type Tally } from '../observability/counters.ts';
import { counter, gauge, histogram, type MetricFamily, sample, samplesOf } from '../observability/metric-families.ts';

/** A use of the shared cache. */
export type Operation = (typeof OPERATIONS)[number];
const OPERATIONS = [
  ...(['lookup', 'wait', 'keep', 'drop', 'handle', 'publish', 'receive', 'record', 'recall', 'heartbeat'] as const),
];

/**
 * `hit`: a token or a handle. `invalid`: a value that cannot be opened, is over, or fails a check. `locked`: another
 * replica exchanges. `skipped`: not sent, because the server is considered down.
 */
export type OperationResult = (typeof RESULTS)[number];
const RESULTS = ['hit', 'miss', 'locked', 'invalid', 'ok', 'timeout', 'error', 'skipped'] as const;

export type StoreCounts = ReturnType<typeof createStoreCounts>;

/** Seconds. The server is near, and a request waits 100 ms at most unless `timeout` says otherwise. */
const BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1];

export function createStoreCounts() {
  const byOperation = new Map<Operation, Tally<OperationResult>>(
    OPERATIONS.map((operation) => [operation, expect({}, RESULTS)]),
  );
  const durations = createHistogram(BOUNDS);
  return {
    operation: (operation: Operation, result: OperationResult): void =>
      add(byOperation.get(operation) as Tally<OperationResult>, result),
    /** The duration of an operation that was not late. */
    duration: (ms: number): void => observe(durations, ms / 1000),
    families: (isAvailable: () => boolean): readonly MetricFamily[] => [
      counter('cambist_shared_cache_operations_total', 'Operations at the shared cache, by result.', () =>
        [...byOperation].flatMap(([operation, results]) => samplesOf(results, (result) => ({ operation, result }))),
      ),
      histogram('cambist_shared_cache_duration_seconds', 'Time of operations at the shared cache.', () => [
        [{}, durations],
      ]),
      gauge(
        'cambist_shared_cache_available',
        'Whether the shared cache is used: 0 while its server is considered down.',
        () => [sample({}, isAvailable() ? 1 : 0)],
      ),
    ],
  };
}
