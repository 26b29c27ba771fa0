import { Counter, Gauge, Histogram } from 'prom-client';
import { createRegistry } from '../observability/process-metrics.ts';
import type { Injection } from './pod-injection.ts';

/** The result of a review; `invalid` for a request that is not a valid review. */
type ReviewMetric = Injection['outcome'] | 'invalid';

export type WebhookMetrics = ReturnType<typeof createWebhookMetrics>;

const RESULTS: readonly ReviewMetric[] = ['injected', 'unchanged', 'skipped', 'refused', 'invalid'];

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** @param logLinesLost returns the number of log lines that standard output has not accepted since the start */
export function createWebhookMetrics(version: string, logLinesLost: () => number) {
  const registry = createRegistry();
  const registers = [registry];
  const requests = new Counter({
    name: 'cambist_webhook_requests_total',
    help: 'Admission reviews, by result.',
    labelNames: ['result'],
    registers,
  });
  for (const result of RESULTS) requests.inc({ result }, 0);
  const duration = new Histogram({
    name: 'cambist_webhook_request_duration_seconds',
    help: 'Duration of an admission review, from the complete request to the response.',
    buckets: BUCKETS,
    registers,
  });
  const reloads = new Counter({
    name: 'cambist_webhook_certificate_reloads_total',
    help: 'Reloads of the certificate and its key, by result.',
    labelNames: ['result'],
    registers,
  });
  for (const result of ['success', 'failure']) reloads.inc({ result }, 0);
  const expiry = new Gauge({
    name: 'cambist_webhook_certificate_expiry_timestamp_seconds',
    help: 'Expiry of the certificate in use.',
    registers,
  });
  new Counter({
    name: 'cambist_log_lines_lost_total',
    help: 'Log lines that standard output did not accept.',
    registers,
    collect() {
      this.reset();
      this.inc(logLinesLost());
    },
  });
  new Gauge({
    name: 'cambist_build_info',
    help: 'Always 1; the labels identify the running version.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1);
  return {
    registry,
    reviewed(result: ReviewMetric, durationMs: number): void {
      requests.inc({ result });
      duration.observe(durationMs / 1000);
    },
    certificateLoaded: (expiresAt: Date): void => expiry.set(expiresAt.getTime() / 1000),
    certificateReloaded: (result: 'success' | 'failure'): void => reloads.inc({ result }),
  };
}
