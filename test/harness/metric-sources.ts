import { createCounts } from '../../src/admin/counts.ts';
import type { MetricSources } from '../../src/admin/metrics.ts';

/** What a cambist without a config would say. */
export const NOTHING_YET: MetricSources = {
  counts: createCounts(Date.now),
  cacheEntries: () => 0,
  cacheMaxEntries: () => 0,
  readiness: () => ({ ready: false, needs: {} }),
  logLinesLost: () => 0,
};
