import { setImmediate } from 'node:timers/promises';
import type { Registry } from 'prom-client';
import type { MetricFamily } from './metric-families.ts';

export type Exposition = ReturnType<typeof createExposition>;

/**
 * Shows the metrics of a registry and then our own. With a thousand routes, writing all of them takes as long as a thousand
 * requests, so other work runs after each metric.
 */
export function createExposition(registry: Registry, families: readonly MetricFamily[]) {
  return {
    contentType: registry.contentType,
    async write(): Promise<string> {
      const texts: string[] = [];
      for (const { name } of registry.getMetricsAsArray()) {
        texts.push(await registry.getSingleMetricAsString(name));
        await setImmediate();
      }
      for (const family of families) {
        texts.push(family.text());
        await setImmediate();
      }
      return `${texts.join('\n\n')}\n`;
    },
  };
}
