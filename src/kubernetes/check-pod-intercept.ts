import { isLocal, type TcpListen } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import type { ConfigNode } from '../config/config-node.ts';
import type { Intercept } from '../config/intercept.ts';
import { isEveryAddress } from '../config/loopback.ts';
import type { Route } from '../config/route.ts';

/** How an agent's connections get to cambist. */
export const INTERCEPT_WAYS = ['proxy', 'names', 'packets'] as const;
export type InterceptWay = (typeof INTERCEPT_WAYS)[number];

/** The folders of the volumes that an intercepted pod has. */
export const INTERCEPT_FOLDERS = {
  /** The trust folder, which the agent's containers can read. */
  trust: '/run/cambist/trust',
  /** The private key of the certificate authority, for cambist alone. */
  authority: '/run/cambist/ca',
} as const;

/** Where the redirected connections of both schemes arrive. */
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
export function checkIntercept({ intercept, routes }: Config, root: ConfigNode, way: InterceptWay | undefined): void {
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

/** @returns why a host cannot be an entry of `hostAliases` */
export function whyNoAlias(host: string): string | undefined {
  if (host.startsWith('*')) {
    return 'is a wildcard, and hostAliases takes whole names only: name each host, or use --intercept proxy';
  }
  if (host.startsWith('[') || /^[\d.]+$/.test(host)) {
    return 'is an address, which no name leads to: use --intercept proxy or packets';
  }
  return host.includes('_') ? 'contains "_", which hostAliases refuses: use --intercept proxy or packets' : undefined;
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
