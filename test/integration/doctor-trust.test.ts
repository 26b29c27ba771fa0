import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { checkTrust } from '../../src/doctor/check-trust.ts';
import type { ReportedFinding } from '../../src/doctor/report.ts';
import { configOf, startTestApp } from '../harness/app.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const route = { name: 'r', match: { host: 'r.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' };

/** A test changes where temporary files go. */
const TMP = tmpdir();

/** Opens a tunnel through its proxy, and leaves. */
const LEAVES = `
const { hostname, port } = new URL(process.env.HTTPS_PROXY);
const socket = require('node:net').connect(port, hostname);
socket.write('CONNECT r.example.com:443 HTTP/1.1\\r\\n\\r\\n');
socket.once('data', () => { console.error('the certificate \\x1b[31mis not trusted'); process.exit(1); });
`;

/** Checks the trust folder where only Node and these programs are on the path. */
async function check(t: TestContext, written: object, programs: Readonly<Record<string, string>> = {}) {
  const bin = await mkdtemp(join(TMP, 'cambist-bin-'));
  t.after(() => rm(bin, { recursive: true }));
  await symlink(process.execPath, join(bin, 'node'));
  for (const [name, text] of Object.entries(programs)) {
    await writeFile(join(bin, name), `#!${process.execPath}\n${text}`);
    await chmod(join(bin, name), 0o755);
  }
  const { PATH } = process.env;
  process.env.PATH = bin;
  t.after(() => {
    process.env.PATH = PATH;
  });
  const findings: ReportedFinding[] = [];
  const finding = (about: ReportedFinding['about'], found: object) =>
    findings.push({ about, ...found } as ReportedFinding);
  await checkTrust(configOf({ routes: [route], ...written }), { section() {}, finding });
  const of = (name: string) => findings.find(({ about }) => about.name === name);
  return { findings, of };
}

test('tries Node, and judges programs that are missing by their variables', async (t) => {
  const { of } = await check(t, {});
  assert.equal(of('Node')?.code, 'trust_believed');
  for (const name of ['Python', 'Go', 'Java', 'curl', 'Rust']) {
    assert.equal(of(name)?.code, 'trust_expected', name);
    assert.match(of(name)?.what ?? '', /^\w+ would trust it by \w+, which names ".*(?:bundle\.pem|truststore\.p12)"/);
  }
});

test('tries Node with the folder and the authority of a running cambist', async (t) => {
  const folder = temporaryFolder(t);
  const config = { intercept: { ca: { dir: join(folder, 'ca') }, trust_dir: join(folder, 'trust') }, routes: [route] };
  await startTestApp(t, config);
  const { findings, of } = await check(t, config);
  assert.equal(findings[0]?.code, 'trust_folder_read');
  assert.equal(of('Node')?.code, 'trust_believed');
  const { TMPDIR } = process.env;
  process.env.TMPDIR = join(folder, 'none');
  const elsewhere = await check(t, { ...config, intercept: { ...config.intercept, ca: 'ephemeral' } });
  assert.equal(elsewhere.of('Node')?.code, 'trust_believed', 'a container may have no folder for temporary files');
  if (TMPDIR === undefined) delete process.env.TMPDIR;
  else process.env.TMPDIR = TMPDIR;
  assert.deepEqual((await readdir(join(folder, 'trust'))).sort(), ['bundle.pem', 'ca.pem', 'env', 'truststore.p12']);
  await writeFile(join(folder, 'trust/ca.pem'), 'not a certificate');
  assert.equal((await check(t, config)).findings[0]?.code, 'trust_folder_missing');
});

test('reports a program that refuses the certificate, and one that makes no call', async (t) => {
  const { of } = await check(t, {}, { python3: LEAVES, curl: 'process.exit(1)', go: 'process.exit(0)' });
  const refused = of('Python');
  assert.deepEqual([refused?.severity, refused?.code], ['error', 'trust_refused']);
  assert.equal(refused?.why, 'the certificate ?[31mis not trusted');
  assert.match(refused?.fix ?? '', /SSL_CERT_FILE/);
  assert.equal(of('curl')?.code, 'trust_not_checked');
  assert.equal(of('Go')?.code, 'trust_not_checked', 'success without a call shows nothing');
});

test('gives programs the variables of the folder, and no secret of its own', async (t) => {
  process.env.CAMBIST_CLIENT_SECRET = 'of cambist itself';
  t.after(() => {
    delete process.env.CAMBIST_CLIENT_SECRET;
  });
  const { of } = await check(
    t,
    {},
    {
      curl: `${LEAVES.split('socket.once')[0]}; console.error(Object.keys(process.env).join()); process.exitCode = 1; socket.once('data', () => process.exit(1))`,
    },
  );
  const names = (of('curl')?.why ?? '').split(',');
  for (const name of ['SSL_CERT_FILE', 'NODE_EXTRA_CA_CERTS', 'HTTPS_PROXY', 'PATH'])
    assert.ok(names.includes(name), name);
  assert.ok(!names.includes('CAMBIST_CLIENT_SECRET'));
});

test('checks nothing where no route has a host', async (t) => {
  const { findings } = await check(t, { routes: [{ ...route, match: { path: '/r' } }] });
  assert.deepEqual(
    findings.map(({ code }) => code),
    ['trust_folder_missing', 'trust_not_checked'],
  );
});

for (const [host, what] of [
  ['*.example.com', 'a wildcard'],
  ['127.0.0.9', 'an IPv4 address'],
  ['[::1]', 'an IPv6 address'],
] as const) {
  test(`tries Node with ${what}`, async (t) => {
    const { of } = await check(t, { routes: [{ ...route, match: { host } }] });
    assert.equal(of('Node')?.code, 'trust_believed', JSON.stringify(of('Node')));
  });
}
