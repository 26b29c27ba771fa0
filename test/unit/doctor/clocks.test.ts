import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clockFinding, skewByIssue, skewOf } from '../../../src/doctor/clocks.ts';
import { NOW_MS } from './samples.ts';

const SENT = { sentAtMs: NOW_MS + 400, respondedAtMs: NOW_MS + 900 };
const dated = (offsetMs: number) => new Date(NOW_MS + offsetMs).toUTCString();

test('tolerates the second in which the response may have been written', () => {
  assert.equal(skewOf({ ...SENT, date: dated(0) }), 0);
  assert.equal(skewOf({ ...SENT, date: dated(-7000) }), -6401);
  assert.equal(skewOf({ ...SENT, date: dated(7000) }), 6100);
});

test('a slow response hides no more than its time in transit', () => {
  assert.equal(skewOf({ sentAtMs: NOW_MS, respondedAtMs: NOW_MS + 4000, date: dated(3000) }), 0);
});

test('the clock is unknown without a valid Date header or iat', () => {
  assert.equal(skewOf({ ...SENT, date: undefined }), undefined);
  assert.equal(skewOf({ ...SENT, date: 'yesterday' }), undefined);
  assert.equal(skewByIssue({}, { ...SENT, date: undefined }), undefined);
});

test('computes the skew from the iat of an issued token', () => {
  assert.equal(skewByIssue({ iat: NOW_MS / 1000 + 90 }, { ...SENT, date: undefined }), 89_100);
});

test('reports a difference of more than five seconds', () => {
  assert.equal(clockFinding(5000, 'the Date header').code, 'clock_agrees');
  const { severity, code, what } = clockFinding(5001, 'the Date header');
  assert.deepEqual([severity, code], ['error', 'clock_skew']);
  assert.match(what, /5 s ahead/);
  assert.match(clockFinding(-60_000, 'the Date header').what, /60 s behind/);
});

test('a backdated token is only a warning', () => {
  assert.equal(clockFinding(-300_000, '"iat" of the issued token').severity, 'warning');
  assert.equal(clockFinding(300_000, '"iat" of the issued token').severity, 'error');
});
