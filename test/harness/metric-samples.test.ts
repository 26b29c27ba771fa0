import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sumSamples } from './metric-samples.ts';

const TEXT = `# HELP hits_total How many.
# TYPE hits_total counter
hits_total{route="github",result="hit"} 3
hits_total{route="github",result="miss"} 1
hits_total{route="docs",result="hit"} 2
# HELP age_seconds How long.
# TYPE age_seconds histogram
age_seconds_bucket{le="1",route="a \\"b\\""} 4
age_seconds_bucket{le="+Inf",route="a \\"b\\""} 5
age_seconds_count{route="a \\"b\\""} 5
# TYPE entries gauge
entries 7
`;

const SUMS: [name: string, labels: Record<string, string>, sum: number][] = [
  ['hits_total', {}, 6],
  ['hits_total', { result: 'hit' }, 5],
  ['hits_total', { route: 'github', result: 'miss' }, 1],
  ['hits_total', { route: 'nowhere' }, 0],
  ['age_seconds_bucket', { le: '+Inf' }, 5],
  ['age_seconds_count', {}, 5],
  ['entries', {}, 7],
];

for (const [name, labels, sum] of SUMS) {
  test(`sums the samples of ${name} with labels ${JSON.stringify(labels)} to ${sum}`, () => {
    assert.equal(sumSamples(TEXT, name, labels), sum);
  });
}

test('throws for a missing metric instead of returning 0', () => {
  assert.throws(() => sumSamples(TEXT, 'hits'), /no metric "hits"/);
});
