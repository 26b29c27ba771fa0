import { setImmediate } from 'node:timers/promises';
import type { Registry } from 'prom-client';

/**
 * All metrics as text, as `registry.metrics()` gives it. With a thousand routes that keeps the process for the time of a
 * thousand requests; here it serves others after each metric.
 */
export async function expose(registry: Registry): Promise<string> {
  const texts: string[] = [];
  for (const { name } of registry.getMetricsAsArray()) {
    texts.push(await registry.getSingleMetricAsString(name));
    await setImmediate();
  }
  return `${texts.join('\n\n')}\n`;
}
