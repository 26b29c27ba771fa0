import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fine, problem, warning } from '../../../src/doctor/finding.ts';
import { createTextReport, summary } from '../../../src/doctor/report.ts';

const ROUTE = { kind: 'route', name: 'github' } as const;
const BAD = problem('audience_wrong', 'it is for others', { why: 'so it is', fix: 'change it' });
const MAYBE = warning('lifetime_short', 'it is short');

function reported(colour: boolean) {
  const lines: string[] = [];
  const report = createTextReport((line) => lines.push(line), colour);
  report.begins(ROUTE, 'route "github"');
  report.found(ROUTE, fine('lifetime', 'it lives'));
  report.found(ROUTE, MAYBE);
  report.found(ROUTE, BAD);
  return lines;
}

test('each step is a sign and a sentence, with why and the fix below', () => {
  assert.deepEqual(reported(false), [
    'route "github"',
    '  ✓ it lives',
    '  ! it is short [lifetime_short]',
    '  ✗ it is for others [audience_wrong]',
    '      why: so it is',
    '      fix: change it',
  ]);
});

test('colour is on the signs alone', () => {
  assert.equal(reported(true)[3], '  \u001b[31m✗\u001b[0m it is for others [audience_wrong]');
});

test('claims are shown one a line, times so that a person can read them, and none steers the terminal', () => {
  const lines: string[] = [];
  const report = createTextReport((line) => lines.push(line), false);
  report.found(ROUTE, {
    ...fine('token_issued', 'it claims'),
    claims: { sub: 'a\u001b[2J\u009b\u202e', exp: 1_795_608_000, 'a\u0007b': [1, { c: true }] },
  });
  assert.deepEqual(lines.slice(1), [
    '      sub: "a\\u001b[2J??"',
    '      exp: 1795608000 (2026-11-25T12:00:00.000Z)',
    '      a\\u0007b: [1,{"c":true}]',
  ]);
});

test('the last line counts what is wrong and what is only to be looked at', () => {
  assert.equal(summary([BAD, MAYBE]), '1 problem; 1 to look at or not checked');
  assert.equal(summary([BAD, BAD]), '2 problems');
  assert.equal(summary([fine('lifetime', 'x')]), 'no problem found');
});
