import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatRows, reportSoak } from './report.ts';
import type { SoakSample } from './run-soak.ts';

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
