import type { Volume, VolumeMount } from 'kubernetes-types/core/v1.js';
import { INTERCEPT_FOLDERS } from './check-pod.ts';
import { emptyBefore, type InjectionStatus } from './injection-status.ts';
import { getIn, isArray, itemsOf, type Json, type JsonObject, objectsOf, quote, textOf } from './json.ts';
import type { PodLayout } from './pod-layout.ts';

/** The trust folder, which the agent's containers can read. */
export const TRUST_VOLUME = 'cambist-trust';

/** The private key of the certificate authority, for cambist alone. It outlives a restart of the container. */
export const AUTHORITY_VOLUME = 'cambist-ca';

/** Both are in memory: no disk of the node keeps the key. Bundle and truststore take half a megabyte, twice while they are replaced. */
export function interceptVolumes() {
  return [
    { name: TRUST_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
    { name: AUTHORITY_VOLUME, emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
  ] satisfies Volume[];
}

/** The mounts of cambist's own container. */
export function sidecarMounts() {
  return [
    { name: TRUST_VOLUME, mountPath: INTERCEPT_FOLDERS.trust },
    { name: AUTHORITY_VOLUME, mountPath: INTERCEPT_FOLDERS.authority },
  ] satisfies VolumeMount[];
}

const AGENT_MOUNT = { name: TRUST_VOLUME, mountPath: INTERCEPT_FOLDERS.trust, readOnly: true } satisfies VolumeMount;

/** Lets the agent's containers read the trust folder, except those that run before cambist. */
export function addTrustMounts(template: JsonObject, layout: PodLayout): JsonObject {
  return layout.changeContainers(template, 'volumeMounts', ({ kind }, mounts) =>
    kind === 'early' || objectsOf(mounts).some(isTrustMount) ? mounts : [...itemsOf(mounts), AGENT_MOUNT],
  );
}

export function removeTrustMounts(
  template: JsonObject,
  layout: PodLayout,
  { empty = {} }: Pick<InjectionStatus, 'empty'>,
): JsonObject {
  return layout.changeContainers(template, 'volumeMounts', (_container, mounts, path) => {
    if (!isArray(mounts)) return mounts;
    const kept = mounts.filter((mount) => !isTrustMount(mount));
    if (kept.length === mounts.length) return mounts;
    return kept.length > 0 ? kept : emptyBefore(empty, path);
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
