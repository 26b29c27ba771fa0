import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../../harness/http-server.ts';
import { type Lifetime, temporaryFolder } from '../../harness/lifetime.ts';
import { runProgram } from '../../harness/run-command.ts';
import { startServer } from '../../harness/server-process.ts';
import { installSpire } from '../installs.ts';

/** A real SPIRE server. */
export type SpireServer = Awaited<ReturnType<typeof startSpireServer>>;

export type SpireAgent = Awaited<ReturnType<typeof startSpireAgent>>;

export async function startSpireServer(t: Lifetime, trustDomain: string) {
  const programs = await installSpire();
  const folder = temporaryFolder(t);
  const port = await freePort();
  const socket = join(folder, 'server.sock');
  const config = `
server {
  bind_address = "127.0.0.1"
  bind_port = "${port}"
  socket_path = "${socket}"
  trust_domain = "${trustDomain}"
  data_dir = "${folder}"
  log_level = "WARN"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3" connection_string = "${folder}/db.sqlite3" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}
`;
  await writeFile(join(folder, 'server.conf'), config);
  const server = join(programs, 'spire-server');
  const run = async (...command: readonly string[]): Promise<string> => {
    const { code, stdout, stderr } = await runProgram(server, [...command, '-socketPath', socket]);
    if (code !== 0) throw new Error(`spire-server ${command.join(' ')} failed:\n${stdout}${stderr}`);
    return stdout;
  };
  await startProcess(t, folder, server, ['run', '-config', join(folder, 'server.conf')], () => run('healthcheck'));
  const node = `spiffe://${trustDomain}/node`;
  return {
    trustDomain,
    /** Runs a command of spire-server. @returns its standard output @throws Error with its output, if it fails */
    run,
    /** Creates an entry for this user's processes. @returns its id */
    async register(path: string, ...options: readonly string[]): Promise<string> {
      const identity = ['-parentID', node, '-spiffeID', `spiffe://${trustDomain}${path}`];
      const selector = ['-selector', `unix:uid:${process.getuid?.()}`];
      const output = await run('entry', 'create', ...identity, ...selector, ...options, '-output', 'json');
      return JSON.parse(output).results[0].entry.id;
    },
    async startAgent(t: Lifetime) {
      const { value } = JSON.parse(await run('token', 'generate', '-spiffeID', node, '-output', 'json'));
      return startSpireAgent(t, { programs, trustDomain, port, bundle: await run('bundle', 'show'), joinToken: value });
    },
  };
}

interface AgentOptions {
  readonly programs: string;
  readonly trustDomain: string;
  readonly port: number;
  readonly bundle: string;
  readonly joinToken: string;
}

async function startSpireAgent(t: Lifetime, options: AgentOptions) {
  const { programs, trustDomain, port, bundle, joinToken } = options;
  const folder = temporaryFolder(t);
  const [socket, data] = [join(folder, 'agent.sock'), join(folder, 'data')];
  const config = `
agent {
  data_dir = "${data}"
  log_level = "WARN"
  server_address = "127.0.0.1"
  server_port = "${port}"
  socket_path = "${socket}"
  trust_bundle_path = "${folder}/bundle.pem"
  trust_domain = "${trustDomain}"
  experimental { sync_interval = "1s" }
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "${data}" } }
  WorkloadAttestor "unix" { plugin_data {} }
}
`;
  await mkdir(data);
  await writeFile(join(folder, 'agent.conf'), config);
  await writeFile(join(folder, 'bundle.pem'), bundle);
  const program = join(programs, 'spire-agent');
  const healthy = async (): Promise<void> => {
    const { code, stderr } = await runProgram(program, ['healthcheck', '-socketPath', socket]);
    if (code !== 0) throw new Error(stderr);
  };
  const args = ['run', '-config', join(folder, 'agent.conf'), '-joinToken', joinToken];
  let stop = await startProcess(t, folder, program, args, healthy);
  return {
    /** The address of the Workload API. */
    address: `unix://${socket}`,
    /** Starts it again, with the key of its node from the first start. */
    async start() {
      stop = await startProcess(t, folder, program, args, healthy);
    },
    stop: () => stop(),
  };
}

/** Starts a program, and waits until it is healthy. @returns stops it */
async function startProcess(
  t: Lifetime,
  cwd: string,
  command: string,
  args: readonly string[],
  healthy: () => Promise<unknown>,
): Promise<() => Promise<void>> {
  const isHealthy = () =>
    healthy().then(
      () => true,
      () => false,
    );
  const { close } = await startServer({ command, args, cwd, readyUrl: isHealthy, stopSignal: 'SIGKILL' });
  t.after(close);
  return close;
}
