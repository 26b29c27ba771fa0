import type { Container, Probe, ResourceRequirements, Volume } from 'kubernetes-types/core/v1.js';
import type { JsonObject } from './json.ts';
import type { InjectionOptions } from './options.ts';

/** The container's name, and how ours is told from others. */
export const SIDECAR_NAME = 'cambist';

/** The name of the admin port, which PodMonitors go by. */
export const ADMIN_PORT_NAME = 'cambist-admin';

export const VOLUME_NAMES = ['cambist-config', 'cambist-secret', 'cambist-token'] as const;

/** As the Dockerfile says. */
export const SIDECAR_USER = 65532;

/** 0444: the files are root's, and cambist is not root. */
const READ_ALL = 0o444;

const TOKEN_LIFE_SECONDS = 3600;

/** What `limits.shutdown_grace` is unless the config says otherwise, and a little for the rest. */
const DRAIN_SECONDS = 30;

/** Where nothing is left of the pod's time, cambist waits this long for the agent all the same. */
const MIN_WAIT_SECONDS = 5;

/**
 * The container.
 * @param gracePeriodSeconds the whole pod's time to end; of it a classic sidecar leaves the agent all but its own drain
 */
export function sidecarContainer(options: InjectionOptions, gracePeriodSeconds: number): JsonObject {
  const { image, imagePullPolicy, sidecar, logLevel, adminPort, secret, tokenAudience } = options;
  const probe = <T extends Probe>(path: string, more: T) => ({ httpGet: { path, port: ADMIN_PORT_NAME }, ...more });
  return {
    name: SIDECAR_NAME,
    image,
    ...(imagePullPolicy === undefined ? {} : { imagePullPolicy }),
    // This makes it a native sidecar: it starts before the agent, runs beside it, and ends after it.
    ...(sidecar === 'native' ? { restartPolicy: 'Always' } : {}),
    env: [
      { name: 'CAMBIST_CONFIG', value: '/etc/cambist/cambist.yaml' },
      ...(logLevel === undefined ? [] : [{ name: 'CAMBIST_LOG_LEVEL', value: logLevel }]),
    ],
    ports: [{ name: ADMIN_PORT_NAME, containerPort: adminPort }],
    startupProbe: probe('/readyz', { periodSeconds: 1, failureThreshold: 600 }),
    readinessProbe: probe('/readyz', { periodSeconds: 5, timeoutSeconds: 2 }),
    livenessProbe: probe('/livez', { periodSeconds: 10, timeoutSeconds: 2, failureThreshold: 3 }),
    // Both get SIGTERM at once, and the agent's last calls still need it.
    ...(sidecar === 'classic'
      ? { lifecycle: { preStop: waitFor(Math.max(MIN_WAIT_SECONDS, gracePeriodSeconds - DRAIN_SECONDS)) } }
      : {}),
    resources: resourcesOf(options),
    securityContext: {
      runAsNonRoot: true,
      runAsUser: SIDECAR_USER,
      runAsGroup: SIDECAR_USER,
      readOnlyRootFilesystem: true,
      allowPrivilegeEscalation: false,
      privileged: false,
      capabilities: { drop: ['ALL'] },
      seccompProfile: { type: 'RuntimeDefault' },
    },
    // Folders and never a subPath: a file mounted by subPath does not change when its source does.
    volumeMounts: [
      { name: 'cambist-config', mountPath: '/etc/cambist', readOnly: true },
      ...(secret === undefined
        ? []
        : [{ name: 'cambist-secret', mountPath: '/var/run/secrets/cambist', readOnly: true }]),
      ...(tokenAudience === undefined
        ? []
        : [{ name: 'cambist-token', mountPath: '/var/run/secrets/tokens', readOnly: true }]),
    ],
  } satisfies Container;
}

/** A hook that does nothing for so long. The image has node and no shell; Kubernetes' own `sleep` is younger than 1.29. */
function waitFor(seconds: number): JsonObject {
  return { exec: { command: ['node', '-e', `setTimeout(() => {}, ${seconds * 1000})`] } };
}

/** The volumes that the container mounts. */
export function sidecarVolumes({ configMap, secret, tokenAudience }: InjectionOptions): JsonObject[] {
  const token = { audience: tokenAudience ?? '', expirationSeconds: TOKEN_LIFE_SECONDS, path: 'cambist' };
  return [
    { name: 'cambist-config', configMap: { name: configMap } },
    ...(secret === undefined
      ? []
      : [{ name: 'cambist-secret', secret: { secretName: secret, defaultMode: READ_ALL } }]),
    ...(tokenAudience === undefined
      ? []
      : [{ name: 'cambist-token', projected: { sources: [{ serviceAccountToken: token }] } }]),
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
