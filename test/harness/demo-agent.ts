import type { IncomingMessage, ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import type { createPainter } from './demo-report.ts';
import { startHttpServer } from './http-server.ts';
import type { McpSetup } from './mcp-setup.ts';

const REVISION = '2026-07-28';

/** Calls the tool `whoami`, which returns the user of the token that the backend received. */
const WHOAMI = {
  method: 'POST',
  headers: {
    'content-type': 'application/json',
    accept: 'application/json, text/event-stream',
    'mcp-protocol-version': REVISION,
    'mcp-method': 'tools/call',
    'mcp-name': 'whoami',
  },
  body: JSON.stringify({
    jsonrpc: '2.0',
    id: 1,
    method: 'tools/call',
    params: {
      name: 'whoami',
      arguments: {},
      _meta: {
        'io.modelcontextprotocol/protocolVersion': REVISION,
        'io.modelcontextprotocol/clientCapabilities': {},
        'io.modelcontextprotocol/clientInfo': { name: 'demo-agent', version: '1' },
      },
    },
  }),
};

/** Everything that the agent was given, as text, and the result of its calls. */
export interface AgentReport {
  readonly given: string;
  /** The user whose token the backend received. */
  readonly user: string | undefined;
  /** The status of a call without the handle. */
  readonly statusWithout: number;
}

export interface DemoAgent {
  readonly url: string;
  /** Set once cambist listens: the URL of the backend. */
  backendUrl: string;
  close(): Promise<void>;
}

/** An agent that calls its backend with the baggage of the request, as OpenTelemetry does by default, and reports about it. */
export async function startDemoAgent(): Promise<DemoAgent> {
  const server = await startHttpServer((request, response) => {
    respond(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
  });
  const agent: DemoAgent = { url: server.url, backendUrl: '', close: server.close };

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
export function inboundFor(agent: DemoAgent, issuer: string, audience: string): Record<string, unknown> {
  return {
    listen: '127.0.0.1:0',
    agent: agent.url,
    verify: { issuer, audience },
    claims: { 'x-user-id': 'sub' },
    // The clients of the demo call cambist with their own token as well.
    allow_raw_tokens: true,
  };
}

/** Calls the agent as alice does. */
export async function callAgent({ cambist }: McpSetup, token: string): Promise<AgentReport> {
  const headers = { authorization: `Bearer ${token}`, 'x-forwarded-access-token': token };
  const response = await fetch(`${cambist.inboundUrl}/chat`, { method: 'POST', headers, body: 'Which user am I?' });
  return (await response.json()) as AgentReport;
}

/** Shows everything that the agent was given. */
export function describeAgent(
  { given, user, statusWithout }: AgentReport,
  paint: ReturnType<typeof createPainter>,
): string {
  return [
    paint('bold', 'The agent holds nothing: callers reach it through cambist, which keeps their tokens.'),
    '',
    'alice calls her agent. This is everything that the agent was given:',
    '',
    ...given.split('\n').map((line) => `  ${line.includes('cbh_') ? paint('cyan', line) : line}`.trimEnd()),
    '',
    "alice's token is not in it. cbh_… is a handle, which works at this cambist only.",
    `The agent sends the baggage on, as OpenTelemetry does by default. The backend then sees: ${paint('cyan', user ?? 'nothing')}`,
    `Without it, cambist cannot tell the caller, and returns ${paint('red', String(statusWithout))}.`,
    '',
  ].join('\n');
}

/** The promises of cambist that it did not keep, as sentences. */
export function brokenPromisesToAgent({ given, user, statusWithout }: AgentReport, token: string): string[] {
  return [
    ...(given.includes(token) ? ["the agent was given the caller's token"] : []),
    ...(/^authorization: Bearer cbh_/im.test(given) ? [] : ['the agent was given no handle']),
    ...(user === 'alice' ? [] : [`the backend of the agent saw ${user}`]),
    ...(statusWithout === 401 ? [] : [`a call without a handle got ${statusWithout}`]),
  ];
}
