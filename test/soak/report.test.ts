import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatRows, type Point, percentile, reportSoak, type SoakSample, trendOf } from './report.ts';

/** An hour of samples. @param growth resident MiB per hour */
function samples(growth: number, hours = 1): SoakSample[] {
  return Array.from({ length: 60 }, (_, i) => ({
    hours: (hours * (i + 1)) / 60,
    // Memory always rises while caches fill.
    rssMiB: 80 + Math.min(i, 15) + (growth * hours * i) / 60 + (i % 2),
    heapMiB: 30,
    handles: 40,
    connections: 20,
    p50Ms: 1,
    p99Ms: 5 + (i % 3),
  }));
}
const resultOf = (all: SoakSample[], leftovers: string[] = []) => ({
  samples: all,
  outcomes: new Map<string, number>(),
  reloads: 1,
  leftovers,
});

test('accepts an hour without growth after its warm-up', () => {
  const { problems, rows } = reportSoak(resultOf(samples(0)));
  assert.deepEqual(problems, []);
  assert.match(formatRows(rows), /\| resident memory, MiB \| 9\d\.?\d? \| .* \| ± .* \|/);
});

test('fails an hour in which memory grows, and anything that is left over', () => {
  const { problems } = reportSoak(resultOf(samples(40), ['a gauge']));
  assert.equal(problems[0], 'a gauge');
  assert.match(problems[1] ?? '', /^resident memory, MiB: rises by 4\d/);
  assert.equal(problems.length, 2);
});

test('fails a run in which calls fail', () => {
  const outcomes = new Map([
    ['cached: 200', 900],
    ['cached: 502', 90],
    ['left: stream, resets its connection', 10],
  ]);
  assert.deepEqual(reportSoak({ ...resultOf(samples(0)), outcomes }).problems, ['90 of 990 calls failed']);
});

test('judges no slope of a short run', () => {
  assert.deepEqual(reportSoak(resultOf(samples(400, 0.1))).problems, []);
});

const line = (slope: number, noise: (i: number) => number, count = 60): Point[] =>
  Array.from({ length: count }, (_, i) => ({ hours: i / count, value: 100 + (slope * i) / count + noise(i) }));

test('finds the slope of any line exactly', () => {
  fc.assert(
    fc.property(fc.integer({ min: -1000, max: 1000 }), fc.integer({ min: 3, max: 200 }), (slope, count) => {
      const trend = trendOf(line(slope, () => 0, count));
      assert.ok(Math.abs(trend.slope - slope) < 1e-6);
      assert.ok(Math.abs(trend.intercept - 100) < 1e-6);
      assert.ok(trend.error < 1e-3);
    }),
  );
});

test('has an error that covers the true slope of noisy values', () => {
  const { slope, error } = trendOf(line(5, (i) => Math.sin(i * 12.9898) * 3));
  assert.ok(Math.abs(slope - 5) < error);
});

test('has a larger error where neighbours resemble each other', () => {
  const alternating = trendOf(line(0, (i) => (i % 2 === 0 ? 1 : -1)));
  const waves = trendOf(line(0, (i) => (i % 20 < 10 ? 1 : -1)));
  assert.ok(waves.error > 2 * alternating.error);
});

test('returns the percentile of values in any order', () => {
  assert.deepEqual([percentile([3, 1, 2], 0.5), percentile([3, 1, 2], 0.99), percentile([], 0.5)], [2, 3, 0]);
});
