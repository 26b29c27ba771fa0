import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { createHistogram, observe } from '../../../src/observability/counters.ts';
import { counter, gauge, histogram, sample } from '../../../src/observability/metric-families.ts';

const BOUNDS = [0.005, 0.1, 1, 10];

const label = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 8 }),
  fc.constantFrom('', '"', '\\', '\n', 'a"b\\c\nd', 'github'),
);
const labels = fc.oneof(fc.constant({}), fc.record({ route: label }), fc.record({ route: label, code: label }));
const labelNames = ['route', 'code'];

/** The text of the one metric that is registered here. */
async function textOf(register: (registers: Registry[]) => void): Promise<string> {
  const registry = new Registry();
  register([registry]);
  return registry.metrics();
}

test('writes counters and gauges as prom-client does, whatever the labels and values', async () => {
  const value = fc.oneof(fc.integer({ min: 0 }), fc.double({ min: 0, max: 1e12, noNaN: true }));
  await fc.assert(
    fc.asyncProperty(labels, value, async (given, amount) => {
      const read = () => [sample(given, amount)];
      const options = { help: 'Help.', labelNames };
      assert.equal(
        `${counter('calls_total', 'Help.', read).text()}\n`,
        await textOf((registers) => new Counter({ ...options, name: 'calls_total', registers }).inc(given, amount)),
      );
      assert.equal(
        `${gauge('size', 'Help.', read).text()}\n`,
        await textOf((registers) => new Gauge({ ...options, name: 'size', registers }).set(given, amount)),
      );
    }),
  );
});

test('writes a histogram as prom-client does, whatever was observed', async () => {
  const size = fc.oneof(fc.constantFrom(...BOUNDS), fc.double({ min: 0, max: 20, noNaN: true }));
  await fc.assert(
    fc.asyncProperty(labels, fc.array(size), async (given, observed) => {
      const sizes = createHistogram(BOUNDS);
      for (const one of observed) observe(sizes, one);
      const theirs = await textOf((registers) => {
        const metric = new Histogram({ name: 'took_seconds', help: 'Help.', labelNames, buckets: BOUNDS, registers });
        metric.zero(given);
        for (const one of observed) metric.observe(given, one);
      });
      assert.equal(`${histogram('took_seconds', 'Help.', () => [[given, sizes]]).text()}\n`, theirs);
    }),
  );
});
