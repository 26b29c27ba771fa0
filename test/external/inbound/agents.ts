import type { TestContext } from 'node:test';
import { freePort } from '../../harness/free-port.ts';
import { type McpSetup, startMcpSetup } from '../../harness/mcp-setup.ts';
import { type PythonAgent, type PythonAgentOptions, startPythonAgent } from './install.ts';

export interface AgentSetup extends McpSetup {
  readonly agent: PythonAgent;
  /** The URL of the agent for its callers. */
  readonly inboundUrl: string;
}

/** The audience of callers' tokens. */
const AUDIENCE = 'my-agent';

/** Starts an authorization server, MCP backends, cambist, and an agent that is reached, and reaches `github`, through cambist. */
export async function startAgentSetup(
  t: TestContext,
  module: string,
  options: PythonAgentOptions & { readonly inbound?: Readonly<Record<string, unknown>> } = {},
): Promise<AgentSetup> {
  const port = await freePort();
  const setup = await startMcpSetup({
    change: (config) => ({
      ...config,
      inbound: {
        listen: '127.0.0.1:0',
        agent: `http://127.0.0.1:${port}`,
        verify: { issuer: issuerOf(config), audience: AUDIENCE },
        open: ['/.well-known/agent-card.json'],
        claims: { 'x-user-id': 'sub' },
        ...options.inbound,
      },
    }),
  });
  t.after(setup.close);
  const agent = await startPythonAgent(module, port, setup.url('github'), options);
  t.after(agent.close);
  return { ...setup, agent, inboundUrl: setup.cambist.inboundUrl };
}

function issuerOf(config: Readonly<Record<string, unknown>>): string {
  const servers = config.authorization_servers as { readonly local: { readonly issuer: string } };
  return servers.local.issuer;
}

/** Runs `count` calls for each user, `width` at a time. @returns the results by user */
export async function interleaved<Result>(
  users: readonly string[],
  count: number,
  width: number,
  call: (user: string, index: number) => Promise<Result>,
): Promise<Record<string, Result[]>> {
  const queue = Array.from({ length: count }, (_, index) => users.map((user) => [user, index] as const)).flat();
  const results: Record<string, Result[]> = Object.fromEntries(users.map((user) => [user, []]));
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [user, index] = next;
      results[user]?.push(await call(user, index));
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return results;
}
