import { decodeJwt } from 'jose';
import type { McpBackend } from './mcp-backend.ts';
import { connectMcpClient } from './mcp-client.ts';
import type { RouteName, World } from './world.ts';

/** One MCP request that went through cambist, as cambist logged it and as the backend received it. */
export interface DemoCall {
  backend: RouteName;
  what: string;
  cache: string;
  receivedSubject: string;
  receivedAudience: string;
}

export interface DemoFindings {
  callerAudience: string;
  calls: DemoCall[];
  exchanges: number;
  /** How a backend answers the caller's own token, sent to it without cambist. */
  straight: { backend: RouteName; status: number; challenge: string };
}

/** Every backend is asked for its tools once and for `whoami` twice, by the official SDK's client. */
export async function makeCalls(world: World, token: string): Promise<DemoFindings> {
  const calls: DemoCall[] = [];
  for (const backend of Object.values(world.backends)) {
    calls.push(...(await callBackend(world, backend, token)));
  }
  const straight = await fetch(world.backends.github.url, {
    method: 'POST',
    headers: { ...MCP_HEADERS, authorization: `Bearer ${token}` },
    body: INITIALIZE,
  });
  return {
    callerAudience: audienceOf(decodeJwt(token).aud),
    calls,
    exchanges: world.authorizationServer.requests.filter(({ error }) => error === undefined).length,
    straight: {
      backend: 'github',
      status: straight.status,
      challenge: straight.headers.get('www-authenticate') ?? '',
    },
  };
}

export const MCP_HEADERS = {
  'content-type': 'application/json',
  accept: 'application/json, text/event-stream',
};

export const INITIALIZE = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'curl', version: '1' } },
});

export const DISCOVER_HEADERS = { 'MCP-Protocol-Version': '2026-07-28', 'Mcp-Method': 'server/discover' };

export const DISCOVER = JSON.stringify({
  jsonrpc: '2.0',
  id: 1,
  method: 'server/discover',
  params: {
    _meta: {
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    },
  },
});

/** What was promised and is not so, in plain sentences. */
export function brokenPromises(world: World, findings: DemoFindings, token: string): string[] {
  const broken: string[] = [];
  for (const { backend, what, receivedAudience } of findings.calls) {
    if (receivedAudience !== world.backends[backend].resource) {
      broken.push(`"${what}" reached ${backend} with a token for "${receivedAudience}"`);
    }
  }
  for (const backend of Object.values(world.backends)) {
    // The last request to github is the one that went there straight.
    const through = backend.requests.filter(({ rawHeaders }) => rawHeaders.some((text) => text.startsWith(ID_PREFIX)));
    if (through.some(({ rawHeaders }) => rawHeaders.some((text) => text.includes(token)))) {
      broken.push(`the caller's own token reached ${backend.name}`);
    }
    if (through.some(({ authorization }) => authorization.length !== 1)) {
      broken.push(`${backend.name} received a request without exactly one Authorization header`);
    }
  }
  const backends = Object.keys(world.backends).length;
  if (findings.exchanges !== backends) {
    broken.push(`${findings.exchanges} token exchanges were made where ${backends} suffice`);
  }
  if (findings.straight.status !== 401) {
    broken.push(`${findings.straight.backend} answered ${findings.straight.status} to the caller's own token, not 401`);
  }
  return broken;
}

/** By this id a request is found again in cambist's log and at the backend. */
const ID_PREFIX = 'demo-';

async function callBackend(world: World, backend: McpBackend, token: string): Promise<DemoCall[]> {
  const route = backend.name as RouteName;
  const sent: { id: string; what: string }[] = [];
  const client = await connectMcpClient(world.url(route), {
    headers: { authorization: `Bearer ${token}` },
    fetch: (url, init) => {
      const id = `${ID_PREFIX}${route}-${sent.length + 1}`;
      sent.push({ id, what: describe(init?.body) });
      const headers = new Headers(init?.headers as Record<string, string>);
      headers.set('x-request-id', id);
      return fetch(url, { ...init, headers });
    },
  });
  try {
    await client.listTools();
    await client.callTool('whoami');
    await client.callTool('whoami');
  } finally {
    await client.close();
  }
  const shown = sent.filter(({ what }) => what !== '');
  return Promise.all(shown.map(({ id, what }) => findCall(world, backend, id, what)));
}

async function findCall(world: World, backend: McpBackend, id: string, what: string): Promise<DemoCall> {
  const log = await world.cambist.waitForLog((line) => line.request_id === id && line.msg === 'request');
  const received = backend.requests.find(({ rawHeaders }) => rawHeaders.includes(id));
  return {
    backend: backend.name as RouteName,
    what,
    cache: String(log.cache),
    receivedSubject: received?.claims?.sub ?? 'nobody',
    receivedAudience: audienceOf(received?.claims?.aud),
  };
}

/** The method of a JSON-RPC request, and its tool; empty for all that is no request of the person who watches. */
function describe(body: unknown): string {
  if (typeof body !== 'string') return '';
  const { id, method, params } = JSON.parse(body) as { id?: number; method: string; params?: { name?: string } };
  if (id === undefined) return '';
  return method === 'tools/call' ? `${method} ${params?.name}` : method;
}

function audienceOf(aud: string | string[] | undefined): string {
  return [aud ?? 'nobody'].flat().join(', ');
}
