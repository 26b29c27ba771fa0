import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatResult, summarize } from './report.ts';
import type { CaseResult } from './run-case.ts';

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
