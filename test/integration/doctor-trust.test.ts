import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { checkTrust } from '../../src/doctor/check-trust.ts';
import type { ReportedFinding } from '../../src/doctor/report.ts';
import { configOf, startTestApp } from '../harness/app.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const route = { name: 'r', match: { host: 'r.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' };

async function check(written: object) {
  const findings: ReportedFinding[] = [];
  const finding = (about: ReportedFinding['about'], found: object) =>
    findings.push({ about, ...found } as ReportedFinding);
  await checkTrust(configOf({ routes: [route], ...written }), { section() {}, finding });
  return { findings, codes: findings.map(({ code }) => code) };
}

test('checks the folder of a running cambist, until a file of it breaks', async (t) => {
  const folder = temporaryFolder(t);
  const intercept = { ca: { dir: join(folder, 'ca') }, trust_dir: join(folder, 'trust') };
  await startTestApp(t, { intercept, routes: [route] });
  const whole = await check({ intercept });
  assert.deepEqual(whole.codes, ['trust_folder_read', ...Array(5).fill('trust_expected')]);
  assert.match(whole.findings[1]?.what ?? '', /^Node finds the authority by NODE_EXTRA_CA_CERTS, in ".*ca\.pem"$/);
  const excluded = await check({ intercept, routes: [{ ...route, match: { host: 'other.example.net' } }] });
  assert.deepEqual(excluded.codes.slice(0, 2), ['trust_folder_read', 'trust_hosts_excluded']);
  assert.match(excluded.findings[1]?.what ?? '', /exclude the hosts of routes "r"/);
  await writeFile(join(folder, 'trust/truststore.p12'), 'x');
  const broken = (await check({ intercept })).findings.find(({ code }) => code === 'trust_folder_broken');
  assert.deepEqual([broken?.about.name, broken?.severity], ['Java', 'error']);
  await writeFile(join(folder, 'trust/ca.pem'), 'not a certificate');
  assert.deepEqual((await check({ intercept })).codes, ['trust_folder_missing']);
});

test('checks nothing without intercept', async () => {
  assert.deepEqual((await check({})).codes, ['trust_folder_missing']);
});
