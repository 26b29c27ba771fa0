import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type AgentClient, SDK_V1 } from '../../harness/agent-client.ts';
import { MCP_HEADERS } from '../../harness/consent.ts';
import { INITIALIZE } from '../../harness/demo-calls.ts';
import type { McpSetup, RouteName } from '../../harness/mcp-setup.ts';

/** The last result of the callers of one route. */
export interface Experience {
  /** The result of a caller whose token is in the cache: `tool call succeeds`, or the error. */
  readonly cached: string;
  /** The result of a new caller: the status, and the code of an error of cambist. */
  readonly new: string;
}

export type Callers = ReturnType<typeof startCallers>;

const ROUTES: readonly RouteName[] = ['github', 'docs'];
/** Each of the four loops calls twice a second: about eight requests a second in all. */
const PAUSE_MS = 500;
/** A longer wait is a failure that no scenario expects. */
const PATIENCE_MS = 5_000;

/** Starts two loops for each route: an agent with the official SDK that repeats a tool call, and a series of new callers. */
export function startCallers(setup: McpSetup) {
  const stopping = new AbortController();
  const seen = new Map<string, string>();
  const running = ROUTES.flatMap((route) => [
    repeat(() => callWithCachedToken(route)),
    repeat(async () => void seen.set(`new ${route}`, await callAsNewCaller(setup, route))),
  ]);
  const clients = new Map<RouteName, AgentClient>();
  const cachedToken = setup.subjectToken({ ttlSeconds: 3600 });

  async function callWithCachedToken(route: RouteName): Promise<void> {
    try {
      const client = clients.get(route) ?? (await connect(route));
      await client.call('whoami');
      seen.set(`cached ${route}`, 'tool call succeeds');
    } catch (error) {
      clients.delete(route);
      seen.set(`cached ${route}`, describeFailure(error));
    }
  }

  async function connect(route: RouteName): Promise<AgentClient> {
    const client = await SDK_V1.connect(setup.url(route), await cachedToken);
    clients.set(route, client);
    return client;
  }

  async function repeat(action: () => Promise<void>): Promise<void> {
    while (!stopping.signal.aborted) {
      await action().catch(() => undefined);
      await delay(PAUSE_MS, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  }

  return {
    experience: (route: RouteName): Experience => ({
      cached: seen.get(`cached ${route}`) ?? 'nothing yet',
      new: seen.get(`new ${route}`) ?? 'nothing yet',
    }),
    stop: async (): Promise<void> => {
      stopping.abort();
      await Promise.all(running);
      for (const client of clients.values()) await client.close().catch(() => undefined);
    },
  };
}

async function callAsNewCaller(setup: McpSetup, route: RouteName): Promise<string> {
  const token = await setup.subjectToken({ sub: `caller-${randomUUID()}` });
  const headers = { ...MCP_HEADERS, authorization: `Bearer ${token}` };
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const response = await fetch(setup.url(route), { method: 'POST', headers, body: INITIALIZE, signal });
  const body = await response.text();
  const session = response.headers.get('mcp-session-id');
  if (session !== null) {
    const ended = await fetch(setup.url(route), {
      method: 'DELETE',
      headers: { ...headers, 'mcp-session-id': session },
    });
    await ended.text();
  }
  return [response.status, codeIn(body)].filter((part) => part !== undefined).join(' ');
}

/** The SDK's error message contains the body of an error response. */
function describeFailure(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return codeIn(message) ?? message.split('\n')[0] ?? message;
}

function codeIn(text: string): string | undefined {
  return /"code":"(ERR_[A-Z_]+)"/.exec(text)?.[1];
}
