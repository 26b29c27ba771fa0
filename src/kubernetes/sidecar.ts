import type { Container, Probe, ResourceRequirements, Volume } from 'kubernetes-types/core/v1.js';
import { AUTHORITY_VOLUME, interceptVolumes, sidecarMounts, TRUST_VOLUME } from './intercept-volumes.ts';
import type { JsonObject } from './json.ts';
import type { InjectionOptions } from './parse-options.ts';
import { SIDECAR_NAME } from './pod-layout.ts';

/** The name of the admin port. PodMonitors select it by name. */
export const ADMIN_PORT_NAME = 'cambist-admin';

/** The name of the port for callers. Services keep the agent's own name for it. */
const INBOUND_PORT_NAME = 'cambist-inbound';

export const VOLUME_NAMES = [
  'cambist-config',
  'cambist-secret',
  'cambist-token',
  TRUST_VOLUME,
  AUTHORITY_VOLUME,
] as const;

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

/**
 * Returns the container.
 * @param gracePeriodSeconds the grace period of the pod; a classic sidecar leaves all of it to the agent, except its own drain
 */
export function sidecarContainer(options: InjectionOptions, gracePeriodSeconds: number): JsonObject {
  const { image, imagePullPolicy, sidecar, logLevel, adminPort, secret, tokenAudience, inbound, intercept } = options;
  const user = intercept?.way === 'packets' ? EXEMPT_USER : SIDECAR_USER;
  const probe = <T extends Probe>(path: string, more: T) => ({ httpGet: { path, port: ADMIN_PORT_NAME }, ...more });
  return {
    name: SIDECAR_NAME,
    image,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    // The mark of a native sidecar: it starts before the agent, runs beside it, and stops after it.
    ...(sidecar === 'native' ? { restartPolicy: 'Always' } : {}),
    env: [
      { name: 'CAMBIST_CONFIG', value: '/etc/cambist/cambist.yaml' },
      ...(logLevel === undefined ? [] : [{ name: 'CAMBIST_LOG_LEVEL', value: logLevel }]),
    ],
    ports: [
      { name: ADMIN_PORT_NAME, containerPort: adminPort },
      ...(inbound === undefined ? [] : [{ name: INBOUND_PORT_NAME, containerPort: inbound.inbound }]),
    ],
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
      { name: 'cambist-config', mountPath: '/etc/cambist', readOnly: true },
      ...(secret === undefined
        ? []
        : [{ name: 'cambist-secret', mountPath: '/var/run/secrets/cambist', readOnly: true }]),
      ...(tokenAudience === undefined
        ? []
        : [{ name: 'cambist-token', mountPath: '/var/run/secrets/tokens', readOnly: true }]),
      ...(intercept === undefined ? [] : sidecarMounts()),
    ],
  } satisfies Container;
}

/** A hook that waits. The image has node and no shell, and Kubernetes 1.29 does not enable its own `sleep` hook yet. */
function waitFor(seconds: number): JsonObject {
  return { exec: { command: ['node', '-e', `setTimeout(() => {}, ${seconds * 1000})`] } };
}

export function sidecarVolumes({ configMap, secret, tokenAudience, intercept }: InjectionOptions): JsonObject[] {
  const token = { audience: tokenAudience ?? '', expirationSeconds: TOKEN_LIFE_SECONDS, path: 'cambist' };
  return [
    { name: 'cambist-config', configMap: { name: configMap } },
    ...(secret === undefined ? [] : [{ name: 'cambist-secret', secret: { secretName: secret } }]),
    ...(tokenAudience === undefined
      ? []
      : [{ name: 'cambist-token', projected: { sources: [{ serviceAccountToken: token }] } }]),
    ...(intercept === undefined ? [] : interceptVolumes()),
  ] satisfies Volume[];
}

function resourcesOf({ cpuRequest, memoryRequest, cpuLimit, memoryLimit }: InjectionOptions): JsonObject {
  const limits = {
    ...(cpuLimit === undefined ? {} : { cpu: cpuLimit }),
    ...(memoryLimit === undefined ? {} : { memory: memoryLimit }),
  };
  const requests = { cpu: cpuRequest, memory: memoryRequest };
  return (Object.keys(limits).length === 0 ? { requests } : { requests, limits }) satisfies ResourceRequirements;
}
