import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatJudgement, judge, MAX_RATIO } from './judge.ts';
import { formatResult, summarize } from './report.ts';
import type { CaseResult } from './run-case.ts';
import { medianInterval, pairedRatios, rotated, spreadOf } from './statistics.ts';

test('takes the mean of the two middle values as the median of an even number of values', () => {
  assert.deepEqual(spreadOf([4, 1, 3, 2]), { median: 2.5, min: 1, max: 4 });
  assert.deepEqual(spreadOf([9, 1, 5]), { median: 5, min: 1, max: 9 });
});

test('throws for an empty list', () => {
  assert.throws(() => spreadOf([]), RangeError);
  assert.throws(() => medianInterval([]), RangeError);
});

test('an interval contains the median, is narrow for many similar values, and is the same each time', () => {
  const values = Array.from({ length: 40 }, (_, i) => 1 + (i % 5) / 100);
  const { median, low, high } = medianInterval(values);
  assert.ok(low <= median && median <= high);
  assert.ok(high - low < 0.03, `${low} to ${high}`);
  assert.deepEqual(medianInterval(values), { median, low, high });
});

test('a few slow rounds do not move the interval', () => {
  const values = Array.from({ length: 40 }, (_, i) => (i % 8 === 0 ? 3 : 1));
  assert.deepEqual(medianInterval(values), { median: 1, low: 1, high: 1 });
});

test('computes ratios round by round, so that a slow round affects both', () => {
  assert.deepEqual(pairedRatios([10, 100], [20, 200]), [0.5, 0.5]);
});

test('throws for different numbers of rounds', () => {
  assert.throws(() => pairedRatios([1], [1, 2]), RangeError);
});

test('each contestant comes first in turn', () => {
  assert.deepEqual(
    [0, 1, 2, 3].map((round) => rotated(['a', 'b', 'c'], round).join('')),
    ['abc', 'bca', 'cab', 'abc'],
  );
});

const RESULT: CaseResult = {
  name: 'call',
  about: 'a call',
  contestants: [
    { label: 'one', samples: [{ 'CPU µs each': 10 }, { 'CPU µs each': 30 }] },
    { label: 'other', samples: [{ 'CPU µs each': 20 }, { 'CPU µs each': undefined }] },
    { label: 'third', samples: [{ 'CPU µs each': 20 }, { 'CPU µs each': 60 }] },
  ],
  missing: [{ label: 'nginx', why: 'not installed' }],
};

test('compares each contestant with the first, round by round', () => {
  const [first, , third] = summarize(RESULT);
  assert.equal(first?.ratios.size, 0);
  assert.deepEqual(third?.ratios.get('CPU µs each'), { median: 0.5, low: 0.5, high: 0.5 });
});

test('omits a figure that is missing in a round', () => {
  assert.equal(summarize(RESULT)[1]?.figures.has('CPU µs each'), false);
});

test('reports missing contestants and the reason', () => {
  const machine = { date: '2026-01-01', node: 'v20', os: 'linux', cpu: 'x', cores: 2, memoryGib: 1, pinned: true };
  assert.match(formatResult({ machine, versions: {}, cases: [RESULT] }), /nginx: not installed/);
});

/**
 * CPU of each round, for each process of two pairs. Recorded on a machine with a load of 13 to 20: `same` is a build beside itself,
 * `slower` has a loop in each call.
 */
const RECORDED = JSON.parse(readFileSync(new URL('recorded-rounds.json', import.meta.url), 'utf8')) as {
  readonly same: Readonly<Record<string, number[][]>>;
  readonly slower: Readonly<Record<string, number[][]>>;
};

function resultOf(processes: readonly (readonly number[])[], figure = 'CPU µs each'): CaseResult {
  const contestants = processes.map((values) => ({
    label: 'any',
    samples: values.map((value) => ({ [figure]: value })),
  }));
  return { name: 'call', about: '', contestants, missing: [] };
}

/** The recorded rounds with this build `factor` times as slow. */
function scaled(processes: readonly (readonly number[])[], factor: number): number[][] {
  return processes.map((values, i) => values.map((value) => (i % 2 === 0 ? factor * value : value)));
}

test('finds no case worse where a busy machine ran the same build twice', () => {
  for (const [name, processes] of Object.entries(RECORDED.same)) {
    assert.equal(judge(resultOf(processes)).isWorse, false, name);
  }
});

test('finds a slower call, although the machine was busy', () => {
  const judgement = judge(resultOf(RECORDED.slower.call ?? []));
  assert.equal(judgement.isWorse, true);
  assert.ok((judgement.ratio?.low ?? 0) > MAX_RATIO);
  assert.equal(judgement.pairs.length, 2);
  assert.match(formatJudgement(judgement), /^call: \d\.\d{3} \(\d\.\d{3}–\d\.\d{3}\); pairs .* WORSE$/);
});

test('10 % more CPU is tolerated, and 30 % is not', () => {
  const steady = [30, 31, 29, 30, 32, 28, 30, 31].flatMap((value) => [value, value]);
  const rounds = [steady, [...steady].reverse(), steady, [...steady].reverse()];
  assert.equal(judge(resultOf(scaled(rounds, 1.1))).isWorse, false);
  assert.equal(judge(resultOf(scaled(rounds, 1.3))).isWorse, true);
});

test('one slow process of two does not make a build worse', () => {
  const steady = Array.from({ length: 24 }, (_, i) => 30 + (i % 3));
  const slow = steady.map((value) => 2 * value);
  assert.equal(judge(resultOf([slow, steady, steady, steady])).isWorse, false);
  assert.equal(judge(resultOf([slow, steady, slow, steady])).isWorse, true);
});

test('judges a start by its one pair, and nothing without a figure', () => {
  const starts = [200, 210, 190, 205];
  const slower = judge(resultOf(scaled([starts, starts], 1.5), 'CPU ms until ready'));
  assert.equal(slower.isWorse, true);
  const unknown = judge(resultOf([[1], [1]], 'p50 ms'));
  assert.deepEqual([unknown.ratio, unknown.isWorse], [undefined, false]);
  assert.match(formatJudgement(unknown), /not compared/);
});
