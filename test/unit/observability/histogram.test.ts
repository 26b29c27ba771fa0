import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Metric, Histogram as PromHistogram, Registry } from 'prom-client';
import { countOf, createHistogram, observe } from '../../../src/observability/histogram.ts';
import { histogram } from '../../../src/observability/metric-families.ts';

const BOUNDS = [0.005, 0.1, 1, 10];

test('a size counts in the bucket whose bound it does not pass', () => {
  const sizes = createHistogram(BOUNDS);
  for (const size of [0, 0.005, 0.0051, 1, 10, 10.1, 1000]) observe(sizes, size);
  assert.deepEqual(sizes.buckets, [2, 1, 1, 1, 2]);
  assert.equal(countOf(sizes), 7);
});

test('the text is that of a histogram of prom-client, whatever was observed', async () => {
  const size = fc.oneof(fc.constantFrom(...BOUNDS), fc.double({ min: 0, max: 20, noNaN: true }));
  await fc.assert(
    fc.asyncProperty(fc.array(size), async (observed) => {
      const [ours, theirs] = [new Registry(), new Registry()];
      const sizes = createHistogram(BOUNDS);
      const family = histogram('took_seconds', 'Time.', () => [[{ route: 'a"b' }, sizes]]);
      ours.registerMetric(family as unknown as Metric);
      const labelNames = ['route'];
      const its = new PromHistogram({
        name: 'took_seconds',
        help: 'Time.',
        labelNames,
        buckets: BOUNDS,
        registers: [theirs],
      });
      its.zero({ route: 'a"b' });
      for (const size of observed) {
        observe(sizes, size);
        its.observe({ route: 'a"b' }, size);
      }
      assert.equal(await ours.metrics(), await theirs.metrics());
    }),
  );
});
