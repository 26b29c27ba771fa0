import { isLocal, type Listen } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import type { ConfigNode } from '../config/config-node.ts';
import { isEveryAddress } from '../config/loopback.ts';
import type { UsedSources } from '../config/sources.ts';
import { checkIntercept, type InterceptWay } from './check-pod-intercept.ts';

/** The pod that a config is for, as `cambist inject` makes it. */
export interface PodSettings {
  /** The Secret is mounted. */
  readonly hasSecret: boolean;
  /** The projected service account token is mounted. */
  readonly hasToken: boolean;
  readonly port: number;
  readonly adminPort: number;
  /** The port that callers use, and the one that the agent moves to. Undefined: the agent is not moved. */
  readonly inbound: { readonly inbound: number; readonly agent: number } | undefined;
  /** Undefined: the agent's connections are not intercepted. */
  readonly intercept: InterceptWay | undefined;
  readonly gracePeriodSeconds: number;
  /** Undefined: no limit. */
  readonly memoryLimitBytes: number | undefined;
}

/** The folders of the sidecar's volumes. */
export const POD_FOLDERS = {
  secret: '/var/run/secrets/cambist',
  token: '/var/run/secrets/tokens',
  /** Mounted by Kubernetes. */
  serviceAccount: '/var/run/secrets/kubernetes.io/serviceaccount',
} as const;

/** A memory limit below this one needs fewer requests in flight than the default. */
const ROOMY_BYTES = 512 * 1024 * 1024;
const MAX_IN_FLIGHT_OF_SMALL_POD = 1000;

/** Reports what would fail in the pod although the config is valid. */
export function reportForPod(config: Config, root: ConfigNode, used: UsedSources, pod: PodSettings): void {
  checkListen(config.listen, root.at('listen'), pod.port);
  checkAdmin(config.admin, root.at('admin'), pod.adminPort);
  checkInbound(config.inbound, root, pod.inbound);
  checkIntercept(config, root, pod.intercept);
  for (const { named, node } of used.variables) {
    const file = `${POD_FOLDERS.secret}/${node.path.includes('client_secret') ? 'client-secret' : 'KEY'}`;
    node.error(`${named} is not set in the sidecar: write { file: ${file} }, and name the Secret with --secret`);
  }
  for (const { full, node } of used.files) checkFile(full, node, pod);
  for (const { node } of used.outputs) node.error('the file system of the sidecar is read-only: write stdout');
  const { maxInFlight, shutdownGraceMs } = config.limits;
  const { memoryLimitBytes, gracePeriodSeconds } = pod;
  if (memoryLimitBytes !== undefined && memoryLimitBytes < ROOMY_BYTES && maxInFlight > MAX_IN_FLIGHT_OF_SMALL_POD) {
    root
      .at('limits', 'max_in_flight')
      .warn(`${maxInFlight} requests may need more than the memory limit: set 1000, or set --memory-limit to 512Mi`);
  }
  if (shutdownGraceMs >= 1000 * gracePeriodSeconds) {
    root
      .at('limits', 'shutdown_grace')
      .error("leaves the agent no time within the pod's grace period: shorten it, or raise --termination-grace-period");
  }
}

function checkListen(listen: Listen, node: ConfigNode, port: number): void {
  if (listen.kind === 'unix') {
    node.error("is a Unix socket, which the agent's container does not have: write 127.0.0.1:8180");
  } else if (listen.port !== port) {
    node.error(`has port ${listen.port}, but the sidecar is injected with port ${port}: use the same port`);
  } else if (!isLocal(listen)) {
    node.warn(`other pods can connect here: write 127.0.0.1:${listen.port}, unless they should`);
  }
}

function checkAdmin(admin: Listen, node: ConfigNode, port: number): void {
  if (admin.kind === 'unix') {
    node.error('is a Unix socket, but the probes of the kubelet need a port: write 0.0.0.0:9180');
  } else if (admin.port !== port) {
    node.error(`has port ${admin.port}, but the sidecar is injected with admin port ${port}: use the same port`);
  } else if (!isEveryAddress(admin.host)) {
    node.error(`the kubelet and Prometheus cannot connect to ${admin.host}: write 0.0.0.0:${admin.port}`);
  }
}

function checkInbound(inbound: Config['inbound'], root: ConfigNode, ports: PodSettings['inbound']): void {
  const node = root.at('inbound');
  if (inbound === undefined) {
    if (ports !== undefined)
      root.error('the config has no inbound, but the sidecar is injected with --inbound: add inbound');
    return;
  }
  if (ports === undefined) {
    node.error('needs --inbound with its port, so that the agent moves to another one', 'key');
    return;
  }
  const { listen, agent } = inbound;
  if (listen.kind === 'unix') node.at('listen').error('is a Unix socket, which callers cannot reach');
  else if (listen.port !== ports.inbound) {
    node.at('listen').error(`has port ${listen.port}, but the sidecar takes over port ${ports.inbound}: use the same`);
  } else if (!isEveryAddress(listen.host)) {
    node.at('listen').error(`callers cannot connect to ${listen.host}: write 0.0.0.0:${listen.port}`);
  }
  const port = agent.socketPath === undefined ? Number(new URL(agent.origin).port || 80) : undefined;
  if (port !== ports.agent) {
    node.at('agent').error(`must be http://127.0.0.1:${ports.agent}, because the agent moves to this port`);
  }
}

function checkFile(full: string, node: ConfigNode, { hasSecret, hasToken }: PodSettings): void {
  const isIn = (folder: string): boolean => full.startsWith(`${folder}/`);
  if (isIn(POD_FOLDERS.serviceAccount)) return;
  if (isIn(POD_FOLDERS.secret)) {
    if (!hasSecret) node.error('is in a Secret, but none is mounted: name it with --secret');
  } else if (isIn(POD_FOLDERS.token)) {
    if (!hasToken) node.error('is a projected token, but none is mounted: name its audience with --token-audience');
  } else {
    node.error(`is not mounted in the sidecar: put it into the Secret, and write ${POD_FOLDERS.secret}/KEY`);
  }
}
