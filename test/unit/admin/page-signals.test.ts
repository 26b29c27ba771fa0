import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemsOf } from '../../../src/admin/page-problems.ts';
import { signalsTable } from '../../../src/admin/page-tables.ts';
import type { StatusReport } from '../../../src/admin/status-report.ts';
import { SAMPLE_STATUS } from './sample-status.ts';

const AT = '2026-11-27T12:00:00.000Z';
const FAILING = {
  name: 'idp',
  channels: ['poll', 'logout'],
  available: false,
  problem: 'stream',
  cause: 'transmitter "idp": the request for events to ["<other>"] returned status 404',
  fix: 'set poll_endpoint to its "endpoint_url"',
  since: AT,
  last_signal_at: AT,
} as const;

const reportOf = (signals: StatusReport['signals']): StatusReport => ({
  ...SAMPLE_STATUS,
  ...(signals && { signals }),
});

test('shows each transmitter, and nothing without signals', () => {
  assert.equal(signalsTable(undefined), undefined);
  const working = { name: 'other', channels: ['push'], available: true };
  const table = signalsTable({ revocations: 7, full_issuers: 0, transmitters: [FAILING, working] })?.text ?? '';
  assert.match(table, /with 7 revocations in force/);
  assert.match(table, /idp<\/th>.*unavailable.*poll, logout.*2026-11-27 12:00:00 UTC.*none yet<\/td>/s);
  assert.match(table, /other<\/th>.*available.*none yet<.*–<\/td>/s);
});

test('names the transmitters that fail, with cause and fix, and a list that is full', () => {
  const problems = problemsOf(reportOf({ revocations: 1, full_issuers: 2, transmitters: [FAILING] }));
  const text = problems.map((problem) => `${problem.text.text} ${problem.fix}`).join('\n');
  assert.match(text, /transmitter <strong>idp<\/strong> may not arrive: <code>stream<\/code>/);
  assert.match(text, /\[&quot;&lt;other&gt;&quot;\] returned status 404\. Set poll_endpoint to its "endpoint_url"\./);
  assert.match(text, /All older tokens of 2 issuers are refused\. Lower signals\.remember/);
  const one = problemsOf(reportOf({ revocations: 1, full_issuers: 1, transmitters: [] }));
  assert.match(one[0]?.text.text ?? '', /All older tokens of 1 issuer are refused/);
  assert.match(
    signalsTable({ revocations: 1, full_issuers: 0, transmitters: [FAILING] })?.text ?? '',
    /1 revocation in/,
  );
  assert.deepEqual(problemsOf(reportOf({ revocations: 1, full_issuers: 0, transmitters: [] })), []);
});
