import { basename } from 'node:path';
import { isLocal, type Listen, type TcpListen } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import type { Intercept } from '../config/intercept.ts';
import type { Route } from '../config/route.ts';
import type { UsedSources } from '../config/sources.ts';
import type { ConfigNode } from '../documents/config-node.ts';
import { isEveryAddress } from '../host-names.ts';
import { type InjectionOptions, type InterceptWay, quantityOf, whyNoAlias } from './options.ts';

export const INTERCEPT_FOLDERS = {
  /** The trust folder, which the agent's containers can read. */
  trust: '/run/cambist/trust',
  /** The private key of the certificate authority, for cambist alone. */
  authority: '/run/cambist/ca',
} as const;

/** The redirected connections of both schemes arrive at these ports. */
export const REDIRECTED = { https: 15443, http: 15080 } as const;

/** The keys that the config of a pod must contain, as it is written there. */
const NEEDED: Readonly<Record<InterceptWay, string>> = {
  proxy: `intercept: { ca: { dir: ${INTERCEPT_FOLDERS.authority} } }`,
  names: `intercept: { ca: { dir: ${INTERCEPT_FOLDERS.authority} }, listen: ['127.0.0.1:443', '127.0.0.1:80'] }`,
  packets: `intercept: { ca: { dir: ${INTERCEPT_FOLDERS.authority} }, listen: ['127.0.0.1:${REDIRECTED.https}', '127.0.0.1:${REDIRECTED.http}'] }`,
};

const LOOPBACK = '127.0.0.1';
const HTTPS_PORT = 443;

/** Reports what `intercept` lacks in a pod whose connections get to cambist in this way. Undefined: the pod is not intercepted. */
function checkIntercept({ intercept, routes }: Config, root: ConfigNode, way: InterceptWay | undefined): void {
  const node = root.at('intercept');
  if (intercept === undefined) {
    if (way !== undefined) {
      root.error(
        `the config has no intercept, but the sidecar is injected with --intercept ${way}: add ${NEEDED[way]}`,
      );
    }
  } else if (way === undefined) {
    node.error(
      'needs --intercept with the way of the agent to cambist, so that the agent gets the trust folder',
      'key',
    );
  } else {
    checkFolders(intercept, node);
    if (way === 'names') {
      checkNames(routes, root);
      checkNamesListen(intercept.listen, node);
    }
    if (way === 'packets') checkPacketsListen(intercept.listen, node);
  }
}

/** Only an exact name can be an entry of `hostAliases`. */
function checkNames(routes: readonly Route[], root: ConfigNode): void {
  for (const [index, { match }] of routes.entries()) {
    const problem = match.host === undefined ? undefined : whyNoAlias(match.host);
    if (problem !== undefined) root.at('routes', index, 'match', 'host').error(problem);
  }
}

function checkNamesListen(listen: Intercept['listen'], node: ConfigNode): void {
  if (!listen.some(isReached)) {
    node.error(`names lead to ${LOOPBACK}: add listen: ['${LOOPBACK}:443', '${LOOPBACK}:80']`, { child: 'listen' });
  } else if (!listen.some(({ port }) => port === HTTPS_PORT)) {
    node.at('listen').warn(`calls to https URLs without a port fail: add ${LOOPBACK}:${HTTPS_PORT}`);
  }
  warnOfOpen(listen, node);
}

function checkPacketsListen(listen: Intercept['listen'], node: ConfigNode): void {
  const missing = Object.values(REDIRECTED).filter(
    (port) => !listen.some((one) => isReached(one) && one.port === port),
  );
  if (missing.length > 0) {
    const needed = Object.values(REDIRECTED).map((port) => `'${LOOPBACK}:${port}'`);
    node.error(`packets are redirected to other ports: add listen: [${needed.join(', ')}]`, { child: 'listen' });
  }
  warnOfOpen(listen, node);
}

function isReached({ host }: TcpListen): boolean {
  return host === LOOPBACK || isEveryAddress(host);
}

function warnOfOpen(listen: Intercept['listen'], node: ConfigNode): void {
  for (const [index, address] of listen.entries()) {
    if (!isLocal(address)) {
      node.at('listen', index).warn(`other pods can connect here: write ${LOOPBACK}:${address.port}`);
    }
  }
}

function checkFolders({ ca, trustDir }: Intercept, node: ConfigNode): void {
  const { trust, authority } = INTERCEPT_FOLDERS;
  if (trustDir !== trust) node.at('trust_dir').error(`must be ${trust}, the folder that the agent can read`);
  if (ca.kind === 'ephemeral') {
    node.warn(
      `a restart of cambist's container replaces the authority, which breaks a running agent: write ca: { dir: ${authority} }`,
      'key',
    );
  } else if (ca.kind === 'dir' && ca.dir !== authority) {
    node.at('ca', 'dir').error(`is not a volume of the sidecar: write ${authority}`);
  }
}

export const POD_FOLDERS = {
  config: '/etc/cambist',
  secret: '/var/run/secrets/cambist',
  token: '/var/run/secrets/tokens',
  serviceAccount: '/var/run/secrets/kubernetes.io/serviceaccount',
} as const;

/** A request in flight over TLS takes 140 KiB, and 120 more with a body of 60 KiB: deploy/resources.md. */
const IN_FLIGHT_BYTES = 256 * 1024;
/** The memory of a busy sidecar without its requests. With less, it serves a few calls at a time. */
const BUSY_BYTES = 96 * 1024 * 1024;
const FEW_CALLS = 10;
/** With less, the kernel kills cambist at its start or its first calls. */
const SMALLEST_BYTES = 64 * 1024 * 1024;

/**
 * Reports what would fail in the pod although the config is valid.
 * @param keys of the ConfigMap
 */
export function reportForPod(
  config: Config,
  root: ConfigNode,
  used: UsedSources,
  pod: InjectionOptions,
  keys: readonly string[],
): void {
  checkListen(config.listen, root.at('listen'), pod.port);
  checkAdmin(config.admin, root.at('admin'), pod.adminPort);
  checkInbound(config.inbound, root, pod.inbound);
  checkIntercept(config, root, pod.intercept?.way);
  for (const { named, node } of used.variables) {
    const file = `${POD_FOLDERS.secret}/${node.path.includes('client_secret') ? 'client-secret' : 'KEY'}`;
    node.error(`${named} is not set in the sidecar: write { file: ${file} }, and name the Secret with --secret`);
  }
  for (const { full, written, node } of used.files) {
    const key = basename(written);
    if (!isInConfigMap(written) || !isPublic(node)) checkFile(full, node, pod);
    else if (!keys.includes(key)) node.warn(`is not in the ConfigMap yet: add it there as the key "${key}"`);
  }
  for (const index of config.teams.keys()) {
    root.at('routes_from', index).error('is for a gateway: the sidecar mounts no folder of a team');
  }
  for (const { node } of used.outputs) node.error('the file system of the sidecar is read-only: write stdout');
  const { maxInFlight, shutdownGraceMs } = config.limits;
  const memoryLimitBytes = quantityOf(pod.memoryLimit ?? '') ?? Number.POSITIVE_INFINITY;
  const fitting = Math.max(FEW_CALLS, Math.floor((memoryLimitBytes - BUSY_BYTES) / IN_FLIGHT_BYTES));
  if (memoryLimitBytes < SMALLEST_BYTES) {
    root.warn(`the memory limit of ${pod.memoryLimit} is too small for cambist: set --memory-limit to at least 64Mi`);
  } else if (maxInFlight > fitting) {
    root
      .at('limits', 'max_in_flight')
      .warn(
        `${maxInFlight} requests may need more than the memory limit: set at most ${fitting}, or raise --memory-limit`,
      );
  }
  if (shutdownGraceMs >= 1000 * pod.terminationGracePeriodSeconds) {
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
  } else if (listen.tls !== undefined) {
    node.error(`has TLS, but the agent connects to http://127.0.0.1:${port}, within the pod: remove tls`);
  } else if (!isLocal(listen)) {
    node.warn(`other pods can connect here: write 127.0.0.1:${listen.port}, unless they should`);
  }
}

function checkAdmin(admin: Listen, node: ConfigNode, port: number): void {
  if (admin.kind === 'unix') {
    node.error('is a Unix socket, but the probes of the kubelet need a port: write 0.0.0.0:9180');
  } else if (admin.port !== port) {
    node.error(`has port ${admin.port}, but the sidecar is injected with admin port ${port}: use the same port`);
  } else if (admin.tls !== undefined) {
    node.error('has TLS, but the probes of the sidecar use plain http: remove tls');
  } else if (!isEveryAddress(admin.host)) {
    node.error(`the kubelet and Prometheus cannot connect to ${admin.host}: write 0.0.0.0:${admin.port}`);
  }
}

function checkInbound(inbound: Config['inbound'], root: ConfigNode, ports: InjectionOptions['inbound']): void {
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

/** The ConfigMap is mounted as a whole, so each of its keys is a file beside the config. */
function isInConfigMap(written: string): boolean {
  return /^(?:\.\/)?[^/]+$/.test(written.replace(`${POD_FOLDERS.config}/`, ''));
}

/** Certificates are public, and the other files are secrets. */
function isPublic({ path }: ConfigNode): boolean {
  return ['ca', 'client_ca', 'certificate'].includes(String(path.at(-2)));
}

function checkFile(full: string, node: ConfigNode, { secret, tokenAudience }: InjectionOptions): void {
  const isIn = (folder: string): boolean => full.startsWith(`${folder}/`);
  if (isIn(POD_FOLDERS.serviceAccount)) return;
  if (isIn(POD_FOLDERS.secret)) {
    if (secret === undefined) node.error('is in a Secret, but none is mounted: name it with --secret');
  } else if (isIn(POD_FOLDERS.token)) {
    if (tokenAudience === undefined)
      node.error('is a projected token, but none is mounted: name its audience with --token-audience');
  } else {
    node.error(`is not mounted in the sidecar: put it into the Secret, and write ${POD_FOLDERS.secret}/KEY`);
  }
}
