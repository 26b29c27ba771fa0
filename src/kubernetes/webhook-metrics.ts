import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { Injection } from './pod-injection.ts';

/** How a review ended; `invalid` was none. */
export type ReviewResult = Injection['outcome'] | 'invalid';

/** What the webhook counts; a registry of its own, since it is a program of its own. */
export interface WebhookMetrics {
  readonly registry: Registry;
  reviewed(result: ReviewResult, durationMs: number): void;
  certificateLoaded(expiresAt: Date): void;
  certificateReloaded(result: 'success' | 'failure'): void;
}

const RESULTS: readonly ReviewResult[] = ['injected', 'unchanged', 'skipped', 'refused', 'invalid'];

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

/** Node's gauges that `promtool check metrics` complains of: a gauge whose name ends like a counter's. */
const MISNAMED = ['nodejs_active_handles_total', 'nodejs_active_requests_total', 'nodejs_active_resources_total'];

/** @param logLinesLost how many lines of the log, since the start, standard output did not take */
export function createWebhookMetrics(version: string, logLinesLost: () => number): WebhookMetrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  for (const name of MISNAMED) registry.removeSingleMetric(name);
  const registers = [registry];
  const requests = new Counter({
    name: 'cambist_webhook_requests_total',
    help: 'Admission requests answered, by result.',
    labelNames: ['result'],
    registers,
  });
  for (const result of RESULTS) requests.inc({ result }, 0);
  const duration = new Histogram({
    name: 'cambist_webhook_request_duration_seconds',
    help: 'Time that an admission request took, once it had arrived.',
    buckets: BUCKETS,
    registers,
  });
  const reloads = new Counter({
    name: 'cambist_webhook_certificate_reloads_total',
    help: 'Attempts to reload certificate and key after a change, by result.',
    labelNames: ['result'],
    registers,
  });
  for (const result of ['success', 'failure']) reloads.inc({ result }, 0);
  const expiry = new Gauge({
    name: 'cambist_webhook_certificate_expiry_timestamp_seconds',
    help: 'When the certificate that is served ends.',
    registers,
  });
  new Counter({
    name: 'cambist_log_lines_lost_total',
    help: 'Lines of the log that standard output did not take.',
    registers,
    collect() {
      this.reset();
      this.inc(logLinesLost());
    },
  });
  new Gauge({
    name: 'cambist_build_info',
    help: 'Always 1; the labels tell what is running.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1);
  return {
    registry,
    reviewed(result, durationMs) {
      requests.inc({ result });
      duration.observe(durationMs / 1000);
    },
    certificateLoaded: (expiresAt) => expiry.set(expiresAt.getTime() / 1000),
    certificateReloaded: (result) => reloads.inc({ result }),
  };
}
