import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { INITIALIZE, MCP_HEADERS } from '../../harness/demo-calls.ts';
import { connectMcpClient, type McpClient } from '../../harness/mcp-client.ts';
import type { RouteName, World } from '../../harness/world.ts';

/** What callers of one route last met. */
export interface Experience {
  /** One who has been there all along, whose token is in the cache: `a tool answers`, or what is wrong. */
  readonly regular: string;
  /** Somebody new: status, and the code where cambist answered. */
  readonly newcomer: string;
}

export interface Callers {
  experience(route: RouteName): Experience;
  stop(): Promise<void>;
}

const ROUTES: readonly RouteName[] = ['github', 'docs'];
/** Twice a second each: eight requests a second in all, or a few more. */
const PAUSE_MS = 500;
/** Whoever waits longer has met something that is not part of the story. */
const PATIENCE_MS = 5_000;

/** On each route an agent with the official SDK that calls a tool again and again, and one new caller after another. */
export function startCallers(world: World): Callers {
  const stopping = new AbortController();
  const seen = new Map<string, string>();
  const running = ROUTES.flatMap((route) => [
    repeat(() => callAsRegular(route)),
    repeat(async () => void seen.set(`newcomer ${route}`, await callAsNewcomer(world, route))),
  ]);
  const clients = new Map<RouteName, McpClient>();
  const regularToken = world.subjectToken({ ttlSeconds: 3600 });

  async function callAsRegular(route: RouteName): Promise<void> {
    try {
      const client = clients.get(route) ?? (await connectAsRegular(route));
      await client.callTool('whoami');
      seen.set(`regular ${route}`, 'a tool answers');
    } catch (error) {
      clients.delete(route);
      seen.set(`regular ${route}`, describeFailure(error));
    }
  }

  async function connectAsRegular(route: RouteName): Promise<McpClient> {
    const headers = { authorization: `Bearer ${await regularToken}` };
    const client = await connectMcpClient(world.url(route), { headers });
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
    experience: (route) => ({
      regular: seen.get(`regular ${route}`) ?? 'nothing yet',
      newcomer: seen.get(`newcomer ${route}`) ?? 'nothing yet',
    }),
    stop: async () => {
      stopping.abort();
      await Promise.all(running);
      for (const client of clients.values()) await client.close().catch(() => undefined);
    },
  };
}

async function callAsNewcomer(world: World, route: RouteName): Promise<string> {
  const token = await world.subjectToken({ sub: `caller-${randomUUID()}` });
  const headers = { ...MCP_HEADERS, authorization: `Bearer ${token}` };
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const answer = await fetch(world.url(route), { method: 'POST', headers, body: INITIALIZE, signal });
  const body = await answer.text();
  const session = answer.headers.get('mcp-session-id');
  if (session !== null) {
    const ended = await fetch(world.url(route), {
      method: 'DELETE',
      headers: { ...headers, 'mcp-session-id': session },
    });
    await ended.text();
  }
  return [answer.status, codeIn(body)].filter((part) => part !== undefined).join(' ');
}

/** The SDK puts the body of an answer that is no good into the message of its error. */
function describeFailure(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return codeIn(message) ?? message.split('\n')[0] ?? message;
}

function codeIn(text: string): string | undefined {
  return /"code":"(ERR_[A-Z_]+)"/.exec(text)?.[1];
}
