import { fileURLToPath } from 'node:url';
import { type CommandResult, runProgram } from '../../harness/run-command.ts';
import { type InterceptSetup, MCP_URL } from './setup.ts';

export const program = (name: string): string => fileURLToPath(new URL(`programs/${name}`, import.meta.url));

export const BODY = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'agent', version: '1' } },
});

/** The variables that lead to a proxy, in both spellings. */
export const PROXY_VARIABLES = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].flatMap((name) => [name, name.toLowerCase()]);

/** The arguments of a call by curl, which prints its status. */
export const curlOf = ({ token }: Pick<InterceptSetup, 'token'>, url: string, ...more: readonly string[]): string[] => [
  ...['curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', '-X', 'POST', url, '--data', BODY, ...more],
  ...['-H', `Authorization: Bearer ${token}`, '-H', 'Content-Type: application/json'],
  ...['-H', 'Accept: application/json, text/event-stream'],
];

const LIMIT_SECONDS = '60';

/** Runs a client that gets the variables of the trust folder and nothing else. @param without variables to leave out */
export async function runClient(
  { variables, token }: InterceptSetup,
  command: readonly string[],
  { without = [] }: { readonly without?: readonly string[] } = {},
): Promise<CommandResult> {
  const { PATH = '', HOME = '' } = process.env;
  const given = Object.entries(variables).filter(([name]) => !without.includes(name));
  const env = Object.entries({ PATH, HOME, ...Object.fromEntries(given), URL: MCP_URL, TOKEN: token, BODY });
  const args = [LIMIT_SECONDS, 'env', '-i', ...env.map(([name, value]) => `${name}=${value}`), ...command];
  const result = await runProgram('timeout', args);
  return { ...result, stdout: result.stdout.trim() };
}
