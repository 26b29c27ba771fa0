import type { Container, Probe, ResourceRequirements, Volume, VolumeMount } from 'kubernetes-types/core/v1.js';
import { INTERCEPT_FOLDERS, POD_FOLDERS } from './check-pod.ts';
import { getIn, isArray, itemsOf, type Json, type JsonObject, objectsOf, quote, textOf } from './json.ts';
import type { InjectionOptions } from './options.ts';
import { type PodLayout, SIDECAR_NAME } from './pod-layout.ts';

/** The name of the admin port. PodMonitors select it by name. */
export const ADMIN_PORT_NAME = 'cambist-admin';

/** The trust folder, which the agent's containers can read. */
const TRUST_VOLUME = 'cambist-trust';

/** The private key of the certificate authority, for cambist alone. It outlives a restart of the container. */
const AUTHORITY_VOLUME = 'cambist-ca';

export const VOLUME_NAMES: readonly string[] = [
  'cambist-config',
  'cambist-secret',
  'cambist-token',
  TRUST_VOLUME,
  AUTHORITY_VOLUME,
];

/** The user of the Dockerfile. */
export const SIDECAR_USER = 65532;

/**
 * The user of a sidecar whose own packets are not redirected. Users of images are seldom this one, while agents in distroless images
 * run as 65532 as well, and their packets would pass.
 */
export const EXEMPT_USER = 61_532;

const TOKEN_LIFE_SECONDS = 3600;

/** The default of `limits.shutdown_grace`, and a margin for the rest of the shutdown. */
const DRAIN_SECONDS = 30;

/** cambist waits at least this long for the agent, even if the pod's grace period leaves no time. */
const MIN_WAIT_SECONDS = 5;

/** @param gracePeriodSeconds the grace period of the pod; a classic sidecar leaves all of it to the agent, except its own drain */
export function sidecarContainer(options: InjectionOptions, gracePeriodSeconds: number): JsonObject {
  const { image, imagePullPolicy, sidecar, logLevel, adminPort, secret, tokenAudience, intercept } = options;
  const user = intercept?.way === 'packets' ? EXEMPT_USER : SIDECAR_USER;
  const probe = <T extends Probe>(path: string, more: T) => ({ httpGet: { path, port: ADMIN_PORT_NAME }, ...more });
  return {
    name: SIDECAR_NAME,
    image,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    // The mark of a native sidecar: it starts before the agent, runs beside it, and stops after it.
    ...(sidecar === 'native' ? { restartPolicy: 'Always' } : {}),
    env: [
      { name: 'CAMBIST_CONFIG', value: `${POD_FOLDERS.config}/cambist.yaml` },
      ...(logLevel === undefined ? [] : [{ name: 'CAMBIST_LOG_LEVEL', value: logLevel }]),
    ],
    // The agent's container still declares the port of inbound. A second declaration would make the API server warn.
    ports: [{ name: ADMIN_PORT_NAME, containerPort: adminPort }],
    startupProbe: probe('/readyz', { periodSeconds: 1, failureThreshold: 600 }),
    readinessProbe: probe('/readyz', { periodSeconds: 5, timeoutSeconds: 2 }),
    livenessProbe: probe('/livez', { periodSeconds: 10, timeoutSeconds: 2, failureThreshold: 3 }),
    // Both containers get SIGTERM at the same time, and the agent's last calls still need cambist.
    ...(sidecar === 'classic'
      ? { lifecycle: { preStop: waitFor(Math.max(MIN_WAIT_SECONDS, gracePeriodSeconds - DRAIN_SECONDS)) } }
      : {}),
    resources: resourcesOf(options),
    securityContext: {
      runAsNonRoot: true,
      runAsUser: user,
      runAsGroup: user,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      privileged: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
    // Whole folders, because a file mounted by subPath does not change when its source does.
    volumeMounts: [
      { name: 'cambist-config', mountPath: POD_FOLDERS.config, readOnly: true },
      ...(secret ? [{ name: 'cambist-secret', mountPath: POD_FOLDERS.secret, readOnly: true }] : []),
      ...(tokenAudience ? [{ name: 'cambist-token', mountPath: POD_FOLDERS.token, readOnly: true }] : []),
      ...(intercept === undefined ? [] : INTERCEPT_MOUNTS),
    ],
  } satisfies Container;
}

/** A hook that waits. The image has node and no shell, and Kubernetes 1.29 does not enable its own `sleep` hook yet. */
function waitFor(seconds: number): JsonObject {
  return { exec: { command: ['node', '-e', `setTimeout(() => {}, ${seconds * 1000})`] } };
}

export function sidecarVolumes({ configMap, secret, tokenAudience, intercept }: InjectionOptions): JsonObject[] {
  const token = { audience: tokenAudience ?? '', expirationSeconds: TOKEN_LIFE_SECONDS, path: 'cambist' };
  const projected = { sources: [{ serviceAccountToken: token }] };
  return [
    { name: 'cambist-config', configMap: { name: configMap } },
    ...(secret === undefined ? [] : [{ name: 'cambist-secret', secret: { secretName: secret } }]),
    ...(tokenAudience === undefined ? [] : [{ name: 'cambist-token', projected }]),
    ...(intercept === undefined ? [] : INTERCEPT_VOLUMES),
  ] satisfies Volume[];
}

function resourcesOf({ cpuRequest, memoryRequest, cpuLimit, memoryLimit }: InjectionOptions): JsonObject {
  const limits = { ...(cpuLimit && { cpu: cpuLimit }), ...(memoryLimit && { memory: memoryLimit }) };
  const requests = { cpu: cpuRequest, memory: memoryRequest };
  return (Object.keys(limits).length === 0 ? { requests } : { requests, limits }) satisfies ResourceRequirements;
}

/** Both are in memory: no disk of the node keeps the key. Bundle and truststore take half a megabyte, twice while they are replaced. */
const INTERCEPT_VOLUMES = [
  { name: TRUST_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
  { name: AUTHORITY_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
];

const INTERCEPT_MOUNTS = [
  { name: TRUST_VOLUME, mountPath: INTERCEPT_FOLDERS.trust },
  { name: AUTHORITY_VOLUME, mountPath: INTERCEPT_FOLDERS.authority },
];

const AGENT_MOUNT = { name: TRUST_VOLUME, mountPath: INTERCEPT_FOLDERS.trust, readOnly: true } satisfies VolumeMount;

/** Lets the agent's containers read the trust folder, except those that run before cambist. */
export function addTrustMounts(template: JsonObject, layout: PodLayout): JsonObject {
  return layout.changeContainers(template, 'volumeMounts', ({ kind }, mounts) =>
    kind === 'early' || objectsOf(mounts).some(isTrustMount) ? mounts : [...itemsOf(mounts), AGENT_MOUNT],
  );
}

export function removeTrustMounts(template: JsonObject, layout: PodLayout): JsonObject {
  return layout.changeContainers(template, 'volumeMounts', (_container, mounts) => {
    if (!isArray(mounts)) return mounts;
    const kept = mounts.filter((mount) => !isTrustMount(mount));
    if (kept.length === mounts.length) return mounts;
    return kept.length > 0 ? kept : undefined;
  });
}

/** @returns which containers use the place of the trust folder, each with a remedy */
export function mountConflicts(template: JsonObject, layout: PodLayout): string[] {
  const problems: string[] = [];
  layout.changeContainers(template, 'volumeMounts', ({ name }, mounts) => {
    const taken = objectsOf(mounts).find(
      (mount) => !isTrustMount(mount) && isInside(textOf(mount.mountPath) ?? '', INTERCEPT_FOLDERS.trust),
    );
    if (taken !== undefined) {
      problems.push(`container ${quote(name)} mounts a volume at ${INTERCEPT_FOLDERS.trust}: use another folder`);
    }
    return mounts;
  });
  return problems;
}

function isTrustMount(mount: Json): boolean {
  return getIn(mount, ['name']) === TRUST_VOLUME;
}

function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}
