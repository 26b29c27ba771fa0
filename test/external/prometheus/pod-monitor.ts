import { randomInt } from 'node:crypto';
import { type Manifest, readManifest } from '../../integration/deploy/manifests.ts';
import type { Pod } from '../cluster/objects.ts';

/** The target that the Prometheus Operator derives from deploy/podmonitor.yaml and deploy/pod.yaml. */
export interface MonitoredPort {
  readonly port: number;
  readonly path: string;
  /** The target's labels, as the operator sets them. */
  readonly labels: Readonly<Record<string, string>>;
}

interface PodMonitor extends Manifest {
  readonly spec: { readonly podMetricsEndpoints: readonly { port: string; path: string }[] };
}

const NAMESPACE = 'agents';

/** Finds the pod's port by the name in the PodMonitor. */
export function monitoredPort(): MonitoredPort {
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
