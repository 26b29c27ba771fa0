import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { formatJudgement, judge, MAX_RATIO } from './judge.ts';
import type { CaseResult } from './run-case.ts';

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
