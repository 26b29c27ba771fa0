import { randomInt } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { eventually } from '../../harness/eventually.ts';
import { freePort } from '../../harness/http-server.ts';
import { keepParts, type Lifetime, temporaryFolder } from '../../harness/lifetime.ts';
import { startServer } from '../../harness/server-process.ts';
import { type Manifest, readManifest } from '../../integration/deploy/manifests.ts';
import type { Pod } from '../cluster/objects.ts';
import { prometheusProgram, QUICKENED, quicken, type RuleGroup } from './rules.ts';

interface PodMonitor extends Manifest {
  readonly spec: { readonly podMetricsEndpoints: readonly { port: string; path: string }[] };
}

const NAMESPACE = 'agents';

type MonitoredPort = ReturnType<typeof monitoredPort>;

/** The target that the Prometheus Operator derives from deploy/podmonitor.yaml and deploy/pod.yaml. */
export function monitoredPort() {
  const monitor = readManifest<PodMonitor>('podmonitor.yaml');
  const pod = readManifest<Manifest & Pod>('pod.yaml');
  const endpoint = monitor.spec.podMetricsEndpoints[0];
  const containers = [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
  const container = containers.find(({ ports = [] }) => ports.some(({ name }) => name === endpoint?.port));
  const port = container?.ports?.find(({ name }) => name === endpoint?.port);
  if (endpoint === undefined || container === undefined || port === undefined) {
    throw new Error(`no container of deploy/pod.yaml has the port "${endpoint?.port}" of deploy/podmonitor.yaml`);
  }
  return {
    port: port.containerPort,
    path: endpoint.path,
    /** The target's labels, as the operator sets them. */
    labels: {
      job: `${NAMESPACE}/${monitor.metadata.name}`,
      namespace: NAMESPACE,
      pod: pod.metadata.name,
      container: container.name,
      endpoint: endpoint.port,
    },
  };
}

/** A loopback address that stands for a pod's, so that any port is free on it. */
export function podAddress(): string {
  return `127.${randomInt(1, 255)}.${randomInt(1, 255)}.${randomInt(1, 255)}`;
}

interface Sample {
  readonly metric: Readonly<Record<string, string>>;
  readonly value: readonly [atSeconds: number, value: string];
}

interface Alert {
  readonly labels: Readonly<Record<string, string>> & { readonly alertname: string };
  readonly annotations: Readonly<Record<string, string>>;
  readonly state: 'pending' | 'firing';
}

interface Target {
  readonly scrapeUrl: string;
  readonly health: string;
  readonly labels: Readonly<Record<string, string>>;
}

export type Prometheus = Awaited<ReturnType<typeof startPrometheus>>;

const POLL_MS = 200;

/** The shortest quickened range of the rules contains six scrapes. */
const SCRAPE_INTERVAL = '1s';

/**
 * A real Prometheus that scrapes one cambist and evaluates our rules, in quickened time.
 * @param address of the pod
 */
export async function startPrometheus(
  t: Lifetime,
  groups: readonly RuleGroup[],
  monitored: MonitoredPort,
  address: string,
) {
  const parts = keepParts();
  t.after(parts.close);
  const cwd = temporaryFolder(parts);
  await writeFile(join(cwd, 'rules.yaml'), stringify({ groups: quicken(groups, QUICKENED) }));
  await writeFile(join(cwd, 'prometheus.yaml'), stringify(configuration(monitored, address)));
  const listen = `127.0.0.1:${await freePort()}`;
  const args = ['--config.file=prometheus.yaml', '--storage.tsdb.path=data', `--web.listen-address=${listen}`];
  const url = `http://${listen}`;
  const command = prometheusProgram('prometheus');
  parts.keep(await startServer({ command, args, cwd, readyUrl: `${url}/-/ready`, stopSignal: 'SIGKILL' }));
  return createClient(url);
}

function configuration(monitored: MonitoredPort, address: string): object {
  const { labels, path, port } = monitored;
  return {
    global: {
      scrape_interval: SCRAPE_INTERVAL,
      scrape_timeout: SCRAPE_INTERVAL,
      evaluation_interval: SCRAPE_INTERVAL,
    },
    rule_files: ['rules.yaml'],
    scrape_configs: [
      { job_name: labels.job, metrics_path: path, static_configs: [{ targets: [`${address}:${port}`], labels }] },
    ],
  };
}

function createClient(url: string) {
  async function ask<T>(path: string): Promise<T> {
    const answer = await fetch(`${url}/api/v1/${path}`);
    const body = (await answer.json()) as { status: string; error?: string; data: T };
    if (body.status !== 'success') throw new Error(`Prometheus: ${body.error}`);
    return body.data;
  }
  const alerts = async (): Promise<readonly Alert[]> => (await ask<{ alerts: Alert[] }>('alerts')).alerts;
  const firing = async () => {
    const names = (await alerts()).filter(({ state }) => state === 'firing').map(({ labels }) => labels.alertname);
    return [...new Set(names)].sort();
  };
  return {
    /** @throws Error if Prometheus refuses the query */
    query: async (promql: string) =>
      (await ask<{ result: Sample[] }>(`query?query=${encodeURIComponent(promql)}`)).result,
    targets: async () => (await ask<{ activeTargets: Target[] }>('targets?state=active')).activeTargets,
    alerts,
    firing,
    /** @throws Error with the pending and firing alerts, if the condition does not hold in time */
    waitUntil: async (what: string, timeoutMs: number, holds: () => Promise<boolean>): Promise<void> => {
      await eventually(what, holds, timeoutMs, POLL_MS).catch(async (error: Error) => {
        const states = (await alerts()).map(({ labels, state }) => `${labels.alertname} ${state}`);
        throw new Error(`${error.message}; alerts: ${states.join(', ') || 'none'}`);
      });
    },
  };
}
