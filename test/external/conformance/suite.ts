import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeIn } from '../../harness/cached-install.ts';
import { runProgram } from '../../harness/run-command.ts';

export const REVISIONS = ['2025-11-25', '2026-07-28'] as const;
export type Revision = (typeof REVISIONS)[number];

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
  scenarios: ReadonlyMap<string, readonly Check[]>;
}

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

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
  const env = { NODE_OPTIONS: '', NODE_V8_COVERAGE: '', NO_COLOR: '1', CONFORMANCE_BEARER: bearer, ...variables };
  try {
    const preload = ['--import', here('add-bearer.ts')];
    const { code, stdout, stderr } = await runProgram(await nodeIn(directory), [...preload, program, ...args], { env });
    return { passed: code === 0, output: stdout + stderr, scenarios: await readReports(reports) };
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
