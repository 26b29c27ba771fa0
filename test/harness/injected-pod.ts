import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { parse } from 'yaml';
import { runCommand } from './run-command.ts';

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
  readonly periodSeconds: number;
  readonly failureThreshold?: number;
}

/** The fields of an injected container that a kubelet acts on. */
export interface InjectedContainer {
  readonly name: string;
  readonly restartPolicy?: string;
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe: Probe;
  readonly readinessProbe: Probe;
  readonly livenessProbe: Probe;
  readonly lifecycle?: { readonly preStop: { readonly exec: { readonly command: readonly [string, ...string[]] } } };
}

export interface InjectedPod {
  readonly terminationGracePeriodSeconds: number;
  readonly initContainers?: readonly InjectedContainer[];
  readonly containers: readonly InjectedContainer[];
}

/** The manifest of an agent, with comments and flow style. */
export const AGENT_MANIFEST = `# the agent
apiVersion: apps/v1
kind: Deployment
metadata: { name: agent } # its name
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec:
      containers:
      - name: agent
        image: agent:1
`;

const AGENT = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'agent' } };

/** The spec of a pod with a container "agent", after `cambist inject` with these flags. */
export async function injectPod(flags: readonly string[], spec: object = {}): Promise<InjectedPod> {
  const pod = { ...AGENT, spec: { containers: [{ name: 'agent', image: 'agent:1' }], ...spec } };
  const args = ['inject', '--image', 'cambist:0.1.0', ...flags, '-'];
  const { code, stdout, stderr } = await runCommand(args, { input: JSON.stringify(pod) });
  if (code !== 0) throw new Error(`inject exited with ${code}: ${stderr}`);
  return (parse(stdout) as { spec: InjectedPod }).spec;
}

/** Probes once, as a kubelet does: a status from 200 to 399 is a success, and no response a failure. */
export async function probe({ ports }: InjectedContainer, { httpGet }: Probe): Promise<boolean> {
  const port = ports.find(({ name }) => name === httpGet.port)?.containerPort;
  const response = await fetch(`http://127.0.0.1:${port}${httpGet.path}`).catch(() => undefined);
  await response?.arrayBuffer();
  return response !== undefined && response.status >= 200 && response.status < 400;
}

/** Waits until a kubelet would start the next container. @throws Error if it would restart this one */
export async function startedUp(container: InjectedContainer): Promise<void> {
  const { periodSeconds, failureThreshold = 3 } = container.startupProbe;
  for (let failures = 0; failures < failureThreshold; failures += 1) {
    if (await probe(container, container.startupProbe)) return;
    await delay(periodSeconds * 1000);
  }
  throw new Error(`"${container.name}" has not started up`);
}

/** Runs the hook that precedes SIGTERM. @returns its exit code */
export async function preStop({ lifecycle }: InjectedContainer): Promise<number> {
  const [command, ...args] = lifecycle?.preStop.exec.command ?? ['true'];
  const [code] = (await once(spawn(command, args, { stdio: 'inherit' }), 'exit')) as [number];
  return code;
}
