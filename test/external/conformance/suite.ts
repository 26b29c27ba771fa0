import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';

export const REVISIONS = ['2025-11-25', '2026-07-28'] as const;
export type Revision = (typeof REVISIONS)[number];

/** A check in the suite's report. */
export interface Check {
  id: string;
  name: string;
  status: string;
  errorMessage?: string;
  details?: unknown;
}

export interface SuiteResult {
  /** True if all required checks of the revision passed. */
  passed: boolean;
  /** The suite's own summary. */
  output: string;
  /** The checks of each scenario, in order. */
  scenarios: ReadonlyMap<string, readonly Check[]>;
}

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Installs the official suite with its own Node, because it requires a newer Node than cambist. @returns its folder */
export function installSuite(): Promise<string> {
  return cachedInstall('conformance', [here('suite/package.json'), here('suite/package-lock.json')], (directory) =>
    runTool('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', directory], directory),
  );
}

async function suiteNode(directory: string): Promise<string> {
  const modules = join(directory, 'node_modules');
  const found = (await readdir(modules)).find((name) => /^node-(bin-)?(linux|darwin)-/.test(name));
  if (found === undefined) throw new Error('the lock file contains no Node for this platform');
  return join(modules, found, 'bin', 'node');
}

/**
 * Runs the checks that a revision requires of a server, with this bearer token.
 * @param variables of the environment, for a proxy
 */
export async function runSuite(
  directory: string,
  url: string,
  revision: Revision,
  bearer: string,
  variables: Readonly<Record<string, string>> = {},
): Promise<SuiteResult> {
  const reports = await mkdtemp(join(tmpdir(), 'conformance-'));
  const program = join(directory, 'node_modules/@modelcontextprotocol/conformance/dist/index.js');
  const args = ['server', '--url', url, '--requirements', revision, '-o', reports];
  const child = spawn(await suiteNode(directory), ['--import', here('add-bearer.ts'), program, ...args], {
    env: {
      ...process.env,
      NODE_OPTIONS: '',
      NODE_V8_COVERAGE: '',
      NO_COLOR: '1',
      CONFORMANCE_BEARER: bearer,
      ...variables,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  try {
    const code = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    const [exitCode, out, err] = await Promise.all([code, text(child.stdout), text(child.stderr)]);
    return { passed: exitCode === 0, output: out + err, scenarios: await readReports(reports) };
  } finally {
    await rm(reports, { recursive: true, force: true });
  }
}

/** Reads the reports. The folder of each report is named after its scenario and the time. */
async function readReports(reports: string): Promise<Map<string, Check[]>> {
  const scenarios = new Map<string, Check[]>();
  for (const folder of (await readdir(reports)).sort()) {
    const scenario = folder.replace(/^server-/, '').replace(/-\d{4}-\d{2}-\d{2}T[\d-]+Z$/, '');
    // An aborted scenario has no checks.
    const checks = await readFile(join(reports, folder, 'checks.json'), 'utf8').catch(() => '[]');
    scenarios.set(scenario, JSON.parse(checks) as Check[]);
  }
  return scenarios;
}
