import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../harness/http-server.ts';
import { startMcpSetup } from '../../harness/mcp-setup.ts';
import { startServer } from '../../harness/server-process.ts';
import { installAgents } from '../installs.ts';

export type AgentSetup = Awaited<ReturnType<typeof startAgentSetup>>;

interface AgentOptions {
  readonly install?: () => Promise<string>;
  readonly env?: Readonly<Record<string, string>>;
  readonly inbound?: Readonly<Record<string, unknown>>;
}

/** Python compiles the modules of an agent when it starts for the first time. */
const START_TIMEOUT_MS = 180_000;

const AUDIENCE = 'my-agent';

/** Starts an authorization server, MCP backends, cambist, and an agent that is reached, and reaches `github`, through cambist. */
export async function startAgentSetup(t: TestContext, module: string, options: AgentOptions = {}) {
  const port = await freePort();
  const setup = await startMcpSetup(t, {
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
  const agent = await startPythonAgent(module, port, setup.url('github'), options);
  t.after(agent.close);
  /** Callers' tokens, by their users. */
  const tokens = new Map<string, string>();
  for (const user of USERS) tokens.set(user, await setup.subjectToken({ sub: user }));
  return { ...setup, inboundUrl: setup.cambist.inboundUrl, tokens };
}

/** Starts an agent, `app` of a module, under OpenTelemetry's zero-code instrumentation. */
async function startPythonAgent(
  module: string,
  port: number,
  backendUrl: string,
  { install = installAgents, env = {} }: AgentOptions,
) {
  const bin = await install();
  const url = `http://127.0.0.1:${port}`;
  const options = ['--host=127.0.0.1', `--port=${port}`, '--log-level=warning'];
  return startServer({
    command: join(bin, 'opentelemetry-instrument'),
    args: [join(bin, 'uvicorn'), ...options, `${module}:app`],
    cwd: fileURLToPath(new URL('python', import.meta.url)),
    env: {
      BACKEND_URL: backendUrl,
      AGENT_URL: url,
      PYTHONPYCACHEPREFIX: join(bin, '../../compiled'),
      OTEL_TRACES_EXPORTER: 'none',
      OTEL_METRICS_EXPORTER: 'none',
      OTEL_LOGS_EXPORTER: 'none',
      ...env,
    },
    readyUrl: `${url}/healthz`,
    startTimeoutMs: START_TIMEOUT_MS,
  });
}

function issuerOf(config: Readonly<Record<string, unknown>>): string {
  const servers = config.authorization_servers as { readonly local: { readonly issuer: string } };
  return servers.local.issuer;
}

export const USERS = ['alice', 'bob'];

/** Runs `count` calls for each user, `width` at a time. @returns the results by user */
export async function interleaved<Result>(
  count: number,
  width: number,
  call: (user: string, index: number) => Promise<Result>,
): Promise<Record<string, Result[]>> {
  const queue = Array.from({ length: count }, (_, index) => USERS.map((user) => [user, index] as const)).flat();
  const results: Record<string, Result[]> = Object.fromEntries(USERS.map((user) => [user, []]));
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [user, index] = next;
      results[user]?.push(await call(user, index));
    }
  };
  await Promise.all(Array.from({ length: width }, work));
  return results;
}
