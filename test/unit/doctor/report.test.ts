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
  report.section(ROUTE, 'route "github"');
  report.finding(ROUTE, fine('lifetime', 'it is valid'));
  report.finding(ROUTE, MAYBE);
  report.finding(ROUTE, BAD);
  return lines;
}

test('writes a sign and a sentence for each step, with cause and fix below', () => {
  assert.deepEqual(reported(false), [
    'route "github"',
    '  ✓ it is valid',
    '  ! it is short [lifetime_short]',
    '  ✗ it is for others [audience_wrong]',
    '      why: so it is',
    '      fix: change it',
  ]);
});

test('colours the signs only', () => {
  assert.equal(reported(true)[3], '  \u001b[31m✗\u001b[0m it is for others [audience_wrong]');
});

test('writes one claim per line, with readable times and without control characters', () => {
  const lines: string[] = [];
  const report = createTextReport((line) => lines.push(line), false);
  report.finding(ROUTE, {
    ...fine('token_issued', 'a token was issued'),
    claims: { iss: 'a\u001b[2J\u009b\u202e', exp: 1_795_608_000, 'a\u0007b': [1, { c: true }] },
  });
  assert.deepEqual(lines.slice(1), [
    '      iss: "a\\u001b[2J??"',
    '      exp: 1795608000 (2026-11-25T12:00:00.000Z)',
    '      a\\u0007b: [1,{"c":true}]',
  ]);
});

test('counts problems and warnings in the last line', () => {
  assert.equal(summary([BAD, MAYBE]), '1 problem; 1 warning');
  assert.equal(summary([BAD, BAD, MAYBE, MAYBE]), '2 problems; 2 warnings');
  assert.equal(summary([fine('lifetime', 'x')]), 'no problem found');
});
