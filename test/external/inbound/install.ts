import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall } from '../../harness/cached-install.ts';
import { installPythonPackages } from '../../harness/python-packages.ts';
import { type ServerProcess, startServer } from '../../harness/server-process.ts';

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url));

export interface PythonAgent extends ServerProcess {
  readonly url: string;
}

export interface PythonAgentOptions {
  /** File of pinned packages. */
  readonly requirements?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Python compiles the modules of an agent when it starts for the first time. */
const START_TIMEOUT_MS = 180_000;

export const DEFAULT_REQUIREMENTS = 'requirements.txt';
export const KAGENT_REQUIREMENTS = 'requirements-kagent.txt';

export function installAgents(requirements: string): Promise<string> {
  return cachedInstall('inbound-agents', [here(`python/${requirements}`)], async (folder) => {
    await installPythonPackages(folder, requirements);
  });
}

/**
 * Starts an agent under OpenTelemetry's zero-code instrumentation.
 * @param port of 127.0.0.1 where it listens
 * @param module `app` of which is the agent
 * @throws Error if Python is missing or the package index is unreachable
 */
export async function startPythonAgent(
  module: string,
  port: number,
  backendUrl: string,
  { requirements = DEFAULT_REQUIREMENTS, env = {} }: PythonAgentOptions = {},
): Promise<PythonAgent> {
  const directory = await installAgents(requirements);
  const bin = join(directory, 'venv/bin');
  const url = `http://127.0.0.1:${port}`;
  const server = await startServer({
    command: join(bin, 'opentelemetry-instrument'),
    args: [
      join(bin, 'uvicorn'),
      '--host',
      '127.0.0.1',
      '--port',
      String(port),
      '--log-level',
      'warning',
      `${module}:app`,
    ],
    cwd: here('python'),
    env: {
      BACKEND_URL: backendUrl,
      AGENT_URL: url,
      PYTHONPYCACHEPREFIX: join(directory, 'compiled'),
      OTEL_TRACES_EXPORTER: 'none',
      OTEL_METRICS_EXPORTER: 'none',
      OTEL_LOGS_EXPORTER: 'none',
      ...env,
    },
    readyUrl: `${url}/healthz`,
    startTimeoutMs: START_TIMEOUT_MS,
  });
  return { ...server, url };
}
