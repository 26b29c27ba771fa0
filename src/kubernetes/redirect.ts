import type { Container } from 'kubernetes-types/core/v1.js';
import { REDIRECTED } from './check-pod.ts';
import { getIn, isArray, isObject, type Json, type JsonObject, quote, textOf } from './json.ts';
import { allContainers, OWN_CONTAINERS, type PodLayout, REDIRECT_NAME } from './pod-layout.ts';
import { EXEMPT_USER } from './sidecar.ts';

export interface Redirect {
  readonly from: number;
  readonly to: number;
}

export const DEFAULT_REDIRECTS: readonly Redirect[] = [
  { from: 443, to: REDIRECTED.https },
  { from: 80, to: REDIRECTED.http },
];

/** Capabilities that allow a container to change the rules of its pod's network. */
const POWERFUL = ['NET_ADMIN', 'SYS_ADMIN', 'ALL'];

/** The init container that redirects the pod's connections, before any other container runs. */
export function redirectContainer(image: string, redirects: readonly Redirect[], imagePullPolicy?: string): JsonObject {
  return {
    name: REDIRECT_NAME,
    image,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    args: ['--uid', String(EXEMPT_USER), ...redirects.flatMap(({ from, to }) => ['--redirect', `${from}:${to}`])],
    resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { memory: '64Mi' } },
    securityContext: {
      // The pod may say otherwise for its containers.
      runAsNonRoot: false,
      runAsUser: 0,
      runAsGroup: 0,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      privileged: false,
      capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
  } satisfies Container;
}

/** @returns why packets cannot be redirected, each with a remedy */
export function redirectConflicts(template: JsonObject, layout: PodLayout): string[] {
  if (layout.initContainers === undefined) {
    return ["kagent's Agent has no field for init containers: use the webhook, or the way proxy"];
  }
  const ofPod = getIn(template, ['spec', 'securityContext', 'runAsUser']);
  return allContainers(template, layout).flatMap((container) => {
    const name = textOf(container.name) ?? '';
    const { runAsUser = ofPod, privileged, capabilities } = securityOf(container);
    if (OWN_CONTAINERS.includes(name)) return [];
    const added = getIn(capabilities, ['add']);
    const mayChange = POWERFUL.some((one) => has(added, one));
    return [
      ...(runAsUser === EXEMPT_USER
        ? [`container ${quote(name)} runs as user ${EXEMPT_USER}, whose packets pass cambist: set another runAsUser`]
        : []),
      ...(privileged === true || mayChange
        ? [
            `container ${quote(name)} may change the rules: remove privileged, and the capabilities ${POWERFUL.join(', ')}`,
          ]
        : []),
    ];
  });
}

/**
 * Packet sockets bypass the rules of nftables, and need this capability. Container runtimes give it to root unless it is dropped.
 * @returns which containers can open such a socket
 */
export function rawSocketNotes(template: JsonObject, layout: PodLayout): string[] {
  const ofPod = getIn(template, ['spec', 'securityContext']);
  const names = allContainers(template, layout).flatMap((container) => {
    const own = securityOf(container);
    const name = textOf(container.name) ?? '';
    const [user, nonRoot] = ['runAsUser', 'runAsNonRoot'].map((key) => own[key] ?? getIn(ofPod, [key]));
    const [added, dropped] = ['add', 'drop'].map((key) => getIn(own.capabilities, [key]));
    const mayBeRoot = nonRoot !== true && (user === undefined || user === 0);
    const isHeld = has(added, 'NET_RAW') || (mayBeRoot && !has(dropped, 'NET_RAW') && !has(dropped, 'ALL'));
    return isHeld && !OWN_CONTAINERS.includes(name) ? [quote(name)] : [];
  });
  if (names.length === 0) return [];
  const who = names.length === 1 ? `container ${names[0]} has` : `containers ${names.join(', ')} have`;
  return [`${who} the capability NET_RAW, whose packet sockets bypass cambist: drop it`];
}

/** Container runtimes ignore the case of a name, and some its prefix. */
function has(list: Json | undefined, capability: string): boolean {
  return isArray(list) && list.some((one) => textOf(one)?.toUpperCase().replace(/^CAP_/, '') === capability);
}

function securityOf(container: JsonObject): JsonObject {
  return isObject(container.securityContext) ? container.securityContext : {};
}
