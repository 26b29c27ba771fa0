import type { Container } from 'kubernetes-types/core/v1.js';
import { REDIRECTED } from './check-pod.ts';
import { getIn, isArray, type Json, type JsonObject, quote, textOf } from './json.ts';
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
  return securityOf(template, layout).flatMap(({ name, user, privileged, added }) => {
    const mayChange = POWERFUL.some((one) => has(added, one));
    return [
      ...(user === EXEMPT_USER
        ? [`container ${name} runs as user ${EXEMPT_USER}, whose packets pass cambist: set another runAsUser`]
        : []),
      ...(privileged === true || mayChange
        ? [`container ${name} may change the rules: remove privileged, and the capabilities ${POWERFUL.join(', ')}`]
        : []),
    ];
  });
}

/**
 * Packet sockets bypass the rules of nftables, and need this capability. Container runtimes give it to root unless it is dropped.
 * @returns which containers can open such a socket
 */
export function rawSocketNotes(template: JsonObject, layout: PodLayout): string[] {
  const names = securityOf(template, layout).flatMap(({ name, user, nonRoot, added, dropped }) => {
    const mayBeRoot = nonRoot !== true && (user === undefined || user === 0);
    const isHeld = has(added, 'NET_RAW') || (mayBeRoot && !has(dropped, 'NET_RAW') && !has(dropped, 'ALL'));
    return isHeld ? [name] : [];
  });
  if (names.length === 0) return [];
  const who = names.length === 1 ? `container ${names[0]} has` : `containers ${names.join(', ')} have`;
  return [`${who} the capability NET_RAW, whose packet sockets bypass cambist: drop it`];
}

/** Container runtimes ignore the case of a name, and some its prefix. */
function has(list: Json | undefined, capability: string): boolean {
  return isArray(list) && list.some((one) => textOf(one)?.toUpperCase().replace(/^CAP_/, '') === capability);
}

/** The rights of the agent's containers. The user is that of the pod, unless the container says otherwise. */
function securityOf(template: JsonObject, layout: PodLayout) {
  const ofPod = getIn(template, ['spec', 'securityContext']);
  const agents = allContainers(template, layout).filter(({ name }) => !OWN_CONTAINERS.includes(textOf(name) ?? ''));
  return agents.map(({ name, securityContext: own }) => {
    const [user, nonRoot] = ['runAsUser', 'runAsNonRoot'].map((key) => getIn(own, [key]) ?? getIn(ofPod, [key]));
    const [added, dropped] = ['add', 'drop'].map((key) => getIn(own, ['capabilities', key]));
    return { name: quote(textOf(name) ?? ''), user, nonRoot, privileged: getIn(own, ['privileged']), added, dropped };
  });
}
