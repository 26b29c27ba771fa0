import { writeFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { styleText } from 'node:util';
import { MCP_HEADERS, modernCall } from './consent.ts';
import { brokenPromises, type DemoFindings, DISCOVER, describeFindings, INITIALIZE, makeCalls } from './demo-calls.ts';
import type { DemoOptions } from './demo-options.ts';
import { startHttpServer } from './http-server.ts';
import type { Lifetime } from './lifetime.ts';
import { type McpSetup, type McpSetupConfig, startMcpSetup } from './mcp-setup.ts';

/** The lifetime of the caller's token with `--keep`. */
const KEPT_TOKEN_TTL_SECONDS = 8 * 3600;

const OWN_ROUTE = 'mine';

/** Shows what cambist does with the calls of an agent. @returns the promises that were broken */
export async function runDemo(t: Lifetime, { port, keep, backend }: DemoOptions): Promise<string[]> {
  const agent = await startDemoAgent(t);
  const setup = await startMcpSetup(t, {
    change: (config) => withAgent(changeConfig(config, port, backend), agent),
  });
  agent.backendUrl = setup.url('docs');
  const token = await setup.subjectToken(keep ? { ttlSeconds: KEPT_TOKEN_TTL_SECONDS } : {});
  const findings = await makeCalls(setup, token);
  console.log(describeFindings(findings));
  const broken = brokenPromises(setup, findings, token);
  const report = await callAgent(setup, token);
  console.log(describeAgent(report));
  broken.push(...brokenPromisesToAgent(report, token));
  if (broken.length > 0) return broken;
  if (backend !== undefined) setup.authorizationServer.resources.set(backend, { scopes: [] });
  if (keep) await keepRunning(setup, findings, token, backend === undefined ? 'docs' : OWN_ROUTE);
  else console.log('To send requests yourself: npm run demo -- --keep');
  return [];
}

function withAgent(config: McpSetupConfig, agent: DemoAgent): McpSetupConfig {
  const servers = config.authorization_servers as { readonly local: { readonly issuer: string } };
  return { ...config, inbound: inboundFor(agent, servers.local.issuer, 'my-agent') };
}

function changeConfig(config: McpSetupConfig, port: string | undefined, backend: string | undefined): McpSetupConfig {
  const own = { name: OWN_ROUTE, match: { path: `/${OWN_ROUTE}` }, upstream: backend, resource: backend };
  return {
    ...config,
    ...(port !== undefined && { listen: `127.0.0.1:${port}` }),
    ...(backend !== undefined && { routes: [...(config.routes as unknown[]), own] }),
  };
}

const LOG_INTERVAL_MS = 500;

/** Prints requests to try and all addresses, then waits for Ctrl-C. Writes the log and the caller's token to files. */
async function keepRunning(setup: McpSetup, findings: DemoFindings, token: string, route: string): Promise<void> {
  const tokenFile = join(setup.cambist.directory, 'alice');
  await writeFile(tokenFile, token, { mode: 0o600 });
  const logFile = join(setup.cambist.directory, 'cambist.log');
  const logging = setInterval(() => void writeFile(logFile, setup.cambist.stdout()), LOG_INTERVAL_MS);
  const url = `${setup.cambist.url}/${route}`;
  console.log(`Running until Ctrl-C. In another terminal, call a backend of MCP revision 2026-07-28:

${curl(url, tokenFile, DISCOVER)}

If your backend supports only earlier revisions:

${curl(url, tokenFile, { headers: MCP_HEADERS, body: INITIALIZE })}

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

function curl(url: string, tokenFile: string, { headers, body }: { headers: object; body: string }): string {
  const given = Object.entries(headers).map(([name, value]) => `-H '${name}: ${value}'`);
  const lines = [`curl -i ${url} -H "Authorization: Bearer $(cat ${tokenFile})"`];
  for (let i = 0; i < given.length; i += 2) lines.push(given.slice(i, i + 2).join(' '));
  return `  ${[...lines, `-d '${body}'`].join(' \\\n    ')}`;
}

/** Calls the tool `whoami`, which returns the user of the token that the backend received. */
const WHOAMI = { method: 'POST', ...modernCall({ params: { name: 'whoami', arguments: {} }, capabilities: {} }) };

interface AgentReport {
  readonly given: string;
  /** The user whose token the backend received. */
  readonly user: string | undefined;
  /** The status of a call without the handle. */
  readonly statusWithout: number;
}

type DemoAgent = Awaited<ReturnType<typeof startDemoAgent>>;

/** An agent that calls its backend with the baggage of the request, as OpenTelemetry does by default, and reports about it. */
async function startDemoAgent(t: Lifetime) {
  const server = await startHttpServer((request, response) => {
    respond(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  t.after(server.close);
  /** `backendUrl` is set once cambist listens. */
  const agent = { url: server.url, backendUrl: '' };

  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const lines = [`${request.method} ${request.url}`];
    const { rawHeaders } = request;
    for (let i = 0; i < rawHeaders.length; i += 2) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`);
    const given = [...lines, '', await text(request)].join('\n');
    const baggage = String(request.headers.baggage);
    const called = await fetch(agent.backendUrl, { ...WHOAMI, headers: { ...WHOAMI.headers, baggage } });
    const user = /\\"sub\\":\\"([^"\\]+)/.exec(await called.text())?.[1];
    const { status: statusWithout } = await fetch(agent.backendUrl, WHOAMI);
    response.end(JSON.stringify({ given, user, statusWithout } satisfies AgentReport));
  }

  return agent;
}

/** The part of the config that lets callers reach the agent through cambist. */
function inboundFor(agent: DemoAgent, issuer: string, audience: string): Record<string, unknown> {
  return {
    listen: '127.0.0.1:0',
    agent: agent.url,
    verify: { issuer, audience },
    claims: { 'x-user-id': 'sub' },
    // The clients of the demo call cambist with their own token as well.
    allow_raw_tokens: true,
  };
}

async function callAgent({ cambist }: McpSetup, token: string): Promise<AgentReport> {
  const headers = { authorization: `Bearer ${token}`, 'x-forwarded-access-token': token };
  const response = await fetch(`${cambist.inboundUrl}/chat`, { method: 'POST', headers, body: 'Which user am I?' });
  return (await response.json()) as AgentReport;
}

function describeAgent({ given, user, statusWithout }: AgentReport): string {
  return [
    styleText('bold', 'The agent holds nothing: callers reach it through cambist, which keeps their tokens.'),
    '',
    'alice calls her agent. This is everything that the agent was given:',
    '',
    ...given.split('\n').map((line) => `  ${line.includes('cbh_') ? styleText('cyan', line) : line}`.trimEnd()),
    '',
    "alice's token is not in it. cbh_… is a handle, which works at this cambist only.",
    `The agent sends the baggage on, as OpenTelemetry does by default. The backend then sees: ${styleText('cyan', user ?? 'nothing')}`,
    `Without it, cambist cannot tell the caller, and returns ${styleText('red', String(statusWithout))}.`,
    '',
  ].join('\n');
}

/** The promises of cambist that it did not keep, as sentences. */
function brokenPromisesToAgent({ given, user, statusWithout }: AgentReport, token: string): string[] {
  return [
    ...(given.includes(token) ? ["the agent was given the caller's token"] : []),
    ...(/^authorization: Bearer cbh_/im.test(given) ? [] : ['the agent was given no handle']),
    ...(user === 'alice' ? [] : [`the backend of the agent saw ${user}`]),
    ...(statusWithout === 401 ? [] : [`a call without a handle got ${statusWithout}`]),
  ];
}
