import type { MetricSources } from '../../src/admin/instruments.ts';

/** What a cambist without a config would say. */
export const NOTHING_YET: MetricSources = {
  cacheEntries: () => 0,
  cacheMaxEntries: () => 0,
  readiness: () => ({ ready: false, needs: {} }),
};
