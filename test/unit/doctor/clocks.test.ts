import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clockFinding, skewByIssue, skewOf } from '../../../src/doctor/clocks.ts';
import { NOW_MS } from './samples.ts';

const SENT = { sentAtMs: NOW_MS + 400, answeredAtMs: NOW_MS + 900 };
const dated = (offsetMs: number) => new Date(NOW_MS + offsetMs).toUTCString();

test('a second that the answer may have been written in is no skew', () => {
  assert.equal(skewOf({ ...SENT, date: dated(0) }), 0);
  assert.equal(skewOf({ ...SENT, date: dated(-7000) }), -6401);
  assert.equal(skewOf({ ...SENT, date: dated(7000) }), 6100);
});

test('a slow answer hides what may have been its time on the way, and no more', () => {
  assert.equal(skewOf({ sentAtMs: NOW_MS, answeredAtMs: NOW_MS + 4000, date: dated(3000) }), 0);
});

test('without a Date that can be read nothing is known', () => {
  assert.equal(skewOf({ ...SENT, date: undefined }), undefined);
  assert.equal(skewOf({ ...SENT, date: 'yesterday' }), undefined);
  assert.equal(skewByIssue({}, { ...SENT, date: undefined }), undefined);
});

test('iat of what was issued just now tells the same', () => {
  assert.equal(skewByIssue({ iat: NOW_MS / 1000 + 90 }, { ...SENT, date: undefined }), 89_100);
});

test('up to five seconds are no finding', () => {
  assert.equal(clockFinding(5000, 'the Date header').code, 'clock_agrees');
  const { severity, code, what } = clockFinding(5001, 'the Date header');
  assert.deepEqual([severity, code], ['error', 'clock_skew']);
  assert.match(what, /5 s ahead/);
  assert.match(clockFinding(-60_000, 'the Date header').what, /60 s behind/);
});

test('a token that is dated back is only a reason to look', () => {
  assert.equal(clockFinding(-300_000, '"iat" of the issued token').severity, 'warning');
  assert.equal(clockFinding(300_000, '"iat" of the issued token').severity, 'error');
});
