import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { recordOutput } from '../../harness/cambist-process.ts';
import { eventually } from '../../harness/eventually.ts';
import { type Labels, sumSamples } from '../../harness/metric-samples.ts';
import { BUILT_PROGRAM } from '../../harness/run-command.ts';
import type { Cluster } from './cluster.ts';
import { agentPod, type Deployment, OPTED_IN, type Service } from './objects.ts';

interface Secret {
  readonly data: Readonly<Record<string, string>>;
}

const START_TIMEOUT_MS = 120_000;

/**
 * Runs a pod of the webhook's Deployment as a node would: mounts the Secret, runs the container's arguments, and listens on
 * the address of the Service. The namespace `agents` and its default ServiceAccount must exist.
 */
export async function startWebhookPod(cluster: Cluster) {
  const read = <T>(kind: string) => cluster.read<T>('-n', 'cambist-system', kind, 'cambist-webhook');
  const deployment = await read<Deployment>('deployment');
  const { clusterIP, ports } = (await read<Service>('service')).spec;
  const [container] = deployment.spec.template.spec.containers;
  const mountPath = container?.volumeMounts?.[0]?.mountPath;
  assert.ok(container?.args && mountPath !== undefined);
  const folder = join(cluster.folder, `mounted-${process.hrtime.bigint()}`);
  await mkdir(folder);
  const mountSecret = async () => swapFolder(folder, (await read<Secret>('secret')).data);
  await mountSecret();
  const args = container.args.map((arg) => arg.replace(mountPath, folder));
  const addresses = [`--listen=${clusterIP}:${ports[0]?.port}`, '--admin=127.0.0.1:0'];
  const child = spawn(process.execPath, [BUILT_PROGRAM, ...args, ...addresses], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'close');
  const output = recordOutput(child);
  const started = output.waitForLog(({ msg }) => msg === 'cambist webhook is listening', START_TIMEOUT_MS);
  const { admin } = await started.catch((cause: unknown) => {
    child.kill('SIGKILL');
    throw new Error(`the webhook did not start: ${output.stderr()}`, { cause });
  });
  await eventually('the API server calls the webhook', () => isCalled(cluster));
  return {
    /** Writes the current Secret into the mounted folder, as the kubelet does within a minute. */
    mountSecret,
    /** The sum of all samples with these labels. */
    metric: async (name: string, labels?: Labels) =>
      sumSamples(await (await fetch(`${admin}/metrics`)).text(), name, labels),
    waitForLog: output.waitForLog,
    /** Sends SIGTERM and waits for the process to exit. */
    stop: async (): Promise<void> => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

async function isCalled(cluster: Cluster): Promise<boolean> {
  const args = ['create', '--dry-run=server', '-o', 'json', '-f', '-'];
  const { stdout } = await cluster.kubectl(args, agentPod('probe', { labels: OPTED_IN }));
  return stdout.includes('cambist.dev/status');
}

/** Updates a volume as the kubelet does: writes a new folder, then swaps one link. */
async function swapFolder(folder: string, data: Secret['data']): Promise<void> {
  const version = `..${process.hrtime.bigint()}`;
  await mkdir(join(folder, version));
  for (const [name, value] of Object.entries(data)) {
    await writeFile(join(folder, version, name), Buffer.from(value, 'base64'));
    await symlink(join('..data', name), join(folder, name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
  await symlink(version, join(folder, '..data_tmp'));
  await rename(join(folder, '..data_tmp'), join(folder, '..data'));
}
