import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { runCommand } from '../../harness/run-command.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';
import { startInterceptSetup } from './setup.ts';

interface Report {
  readonly healthy: boolean;
  readonly findings: readonly {
    readonly code: string;
    readonly about: { readonly name: string };
    readonly why?: string;
  }[];
}

const PROGRAMS = ['Node', 'Python', 'Go', 'Java', 'curl'];

async function doctor(config: string): Promise<Report> {
  const { stdout, stderr } = await runCommand(['doctor', '--trust', '--json', '--config', config]);
  assert.equal(stderr, '');
  return JSON.parse(stdout) as Report;
}

function codesIn({ findings }: Report): Record<string, string> {
  return Object.fromEntries(findings.map(({ about, code }) => [about.name, code]));
}

test('every program of this machine trusts the folder of a running cambist, until the folder breaks', async (t) => {
  const setup = await startInterceptSetup();
  t.after(setup.close);
  const { configFile } = setup.cambist;
  const whole = await doctor(configFile);
  const believed = Object.fromEntries(PROGRAMS.map((name) => [name, 'trust_believed']));
  assert.deepEqual(
    codesIn(whole),
    { '': 'trust_folder_read', ...believed, Rust: 'trust_expected' },
    JSON.stringify(whole),
  );
  assert.equal(whole.healthy, true);
  assert.equal(setup.cambist.stdout().includes('handshake'), false, 'cambist itself gets no call');

  const bundle = join(setup.trustDir, 'bundle.pem');
  const content = await readFile(bundle, 'utf8');
  // OpenSSL reads nothing behind a certificate that it cannot parse.
  await writeFile(bundle, `-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n${content}`);
  const broken = await doctor(configFile);
  const { Node, Python, curl } = codesIn(broken);
  assert.deepEqual({ Node, Python, curl }, { Node: 'trust_believed', Python: 'trust_refused', curl: 'trust_refused' });
  assert.match(broken.findings.find(({ about }) => about.name === 'curl')?.why ?? '', /certificate/);
  assert.equal(broken.healthy, false);
});

test('every program of this machine would trust an ephemeral authority', async (t) => {
  const folder = temporaryFolder(t);
  const route = { name: 'r', match: { host: 'mcp.example.com' }, upstream: 'http://127.0.0.1:1', credential: 'none' };
  await writeFile(join(folder, 'cambist.yaml'), JSON.stringify({ version: 1, routes: [route] }));
  const report = await doctor(join(folder, 'cambist.yaml'));
  const codes = codesIn(report);
  for (const name of PROGRAMS) assert.equal(codes[name], 'trust_believed', JSON.stringify(report));
});
