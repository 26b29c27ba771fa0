import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { type InterceptSetup, MCP_URL } from './setup.ts';

export const program = (name: string): string => fileURLToPath(new URL(`programs/${name}`, import.meta.url));

/** The first message of an MCP client. */
export const BODY = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'agent', version: '1' } },
});

/** The variables that lead to a proxy, in both spellings. */
export const PROXY_VARIABLES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].flatMap((name) => [name, name.toLowerCase()]);

export interface ProgramResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const LIMIT_MS = 60_000;

/** Runs a client that gets the variables of the trust folder and nothing else. @param without variables to leave out */
export async function runClient(
  { variables, token }: InterceptSetup,
  [command = '', ...args]: readonly string[],
  { without = [], url = MCP_URL }: { readonly without?: readonly string[]; readonly url?: string } = {},
): Promise<ProgramResult> {
  const { PATH = '', HOME = '' } = process.env;
  const given = Object.entries(variables).filter(([name]) => !without.includes(name));
  const env = { PATH, HOME, ...Object.fromEntries(given), URL: url, TOKEN: token, BODY };
  const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS });
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
  return { code, stdout: stdout.trim(), stderr };
}
