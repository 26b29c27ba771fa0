import { createCounts } from '../../src/observability/counts.ts';
import type { MetricSources } from '../../src/observability/metrics.ts';

/** The sources of a cambist without a config. */
export const EMPTY_SOURCES: MetricSources = {
  counts: createCounts(Date.now),
  cacheEntries: () => 0,
  cacheMaxEntries: () => 0,
  readiness: () => ({ ready: false, checks: {} }),
  logLinesLost: () => 0,
  audit: () => undefined,
  activeConfig: () => ({
    limits: { maxInFlight: 0, maxInFlightPerUpstream: 0, maxConnections: 0 },
    teams: [],
  }),
  connections: { listen: () => ({ open: 0, dropped: 0 }), admin: () => ({ open: 0, dropped: 0 }) },
  tlsRefusals: () => [{ listener: 'listen', refused: 0 }],
};
