import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type DemoFindings, DISCOVER, DISCOVER_HEADERS, INITIALIZE, MCP_HEADERS } from './demo-calls.ts';
import type { McpSetup } from './mcp-setup.ts';

const LOG_INTERVAL_MS = 500;

/** Prints requests to try and all addresses, then waits for Ctrl-C. Writes the log and the caller's token to files. */
export async function keepRunning(
  setup: McpSetup,
  findings: DemoFindings,
  token: string,
  route: string,
): Promise<void> {
  const tokenFile = join(setup.cambist.directory, 'alice');
  await writeFile(tokenFile, token, { mode: 0o600 });
  const logFile = join(setup.cambist.directory, 'cambist.log');
  const logging = setInterval(() => void writeFile(logFile, setup.cambist.stdout()), LOG_INTERVAL_MS);
  const url = `${setup.cambist.url}/${route}`;
  console.log(`Running until Ctrl-C. In another terminal, call a backend of MCP revision 2026-07-28:

${curl(url, tokenFile, DISCOVER_HEADERS, DISCOVER)}

If your backend supports only earlier revisions:

${curl(url, tokenFile, {}, INITIALIZE)}

  agent     ${url}
  token     cat ${tokenFile}
            the token of a caller (alice), for the Authorization header of your agent: valid for 8 hours
  config    ${setup.cambist.configFile}
  log       ${logFile}
  page      ${setup.cambist.adminUrl}/
  metrics   ${setup.cambist.adminUrl}/metrics
  issuer    ${setup.authorizationServer.issuer}
  keys      ${setup.authorizationServer.jwksUri}
  algorithm ${findings.algorithm}, for the tokens of callers and for issued tokens`);
  await new Promise<void>((resolve) => {
    // Not `once`: a terminal and npm may each send a signal.
    process.on('SIGINT', resolve);
    process.on('SIGTERM', resolve);
    void setup.cambist.exit.then(() => resolve());
  });
  clearInterval(logging);
}

function curl(url: string, tokenFile: string, headers: Readonly<Record<string, string>>, body: string): string {
  const given = Object.entries({ ...MCP_HEADERS, ...headers }).map(([name, value]) => `-H '${name}: ${value}'`);
  const lines = [`curl -i ${url} -H "Authorization: Bearer $(cat ${tokenFile})"`];
  for (let i = 0; i < given.length; i += 2) lines.push(given.slice(i, i + 2).join(' '));
  return `  ${[...lines, `-d '${body}'`].join(' \\\n    ')}`;
}
