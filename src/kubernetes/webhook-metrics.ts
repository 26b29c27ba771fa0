import { add, createHistogram, expect, observe } from '../observability/counters.ts';
import { createExposition } from '../observability/exposition.ts';
import { counter, gauge, histogram, sample, samplesOf } from '../observability/metric-families.ts';
import { createRegistry } from '../observability/process-metrics.ts';
import type { Injection } from './pod-injection.ts';

/** The result of a review; `invalid` for a request that is not a valid review. */
type ReviewMetric = Injection['outcome'] | 'invalid';

export type WebhookMetrics = ReturnType<typeof createWebhookMetrics>;

const RESULTS: readonly ReviewMetric[] = ['injected', 'unchanged', 'skipped', 'refused', 'invalid'];

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** @param logLinesLost returns the number of log lines that standard output has not accepted since the start */
export function createWebhookMetrics(version: string, logLinesLost: () => number) {
  const requests = expect<ReviewMetric>({}, RESULTS);
  const duration = createHistogram(BUCKETS);
  const reloads = expect<'success' | 'failure'>({}, ['success', 'failure']);
  let expirySeconds = 0;
  const byResult = (result: string) => ({ result });
  const families = [
    counter('cambist_webhook_requests_total', 'Admission reviews, by result.', () => samplesOf(requests, byResult)),
    histogram(
      'cambist_webhook_request_duration_seconds',
      'Duration of an admission review, from the complete request to the response.',
      () => [[{}, duration]],
    ),
    counter('cambist_webhook_certificate_reloads_total', 'Reloads of the certificate and its key, by result.', () =>
      samplesOf(reloads, byResult),
    ),
    gauge(
      'cambist_webhook_certificate_expiry_timestamp_seconds',
      'Expiry of the certificate in use.',
      () => expirySeconds,
    ),
    counter('cambist_log_lines_lost_total', 'Log lines that standard output did not accept.', logLinesLost),
    gauge('cambist_build_info', 'Always 1; the labels identify the running version.', () => [sample({ version }, 1)]),
  ];
  return {
    exposition: createExposition(createRegistry(), families),
    reviewed(result: ReviewMetric, durationMs: number): void {
      add(requests, result);
      observe(duration, durationMs / 1000);
    },
    certificateLoaded(expiresAt: Date): void {
      expirySeconds = expiresAt.getTime() / 1000;
    },
    certificateReloaded: (result: 'success' | 'failure'): void => add(reloads, result),
  };
}
