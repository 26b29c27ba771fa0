import { removeAgentEnv } from './agent-env.ts';
import { moveAgentBack } from './agent-port.ts';
import {
  INVALID_STATUS,
  type InjectionStatus,
  readStatus,
  STATUS_ANNOTATION,
  writeStatus,
} from './injection-status.ts';
import { releaseNames } from './intercept-plan.ts';
import { getIn, isArray, isEmpty, isObject, type Json, type JsonObject, type Path, sameJson, setIn } from './json.ts';
import { OWN_CONTAINERS, type PodLayout } from './pod-layout.ts';
import { removeTrustMounts, VOLUME_NAMES } from './sidecar.ts';

/** Removes an injection from a pod, and restores the values that it replaced. The given template is not changed. */
export function uninjectPod(template: JsonObject, layout: PodLayout) {
  const status = readStatus(template, layout);
  if (status === undefined) return { outcome: 'unchanged', template, reasons: ['not injected'] } as const;
  if (status === 'invalid') return { outcome: 'refused', template, reasons: [INVALID_STATUS] } as const;
  let restored = removeInjection(template, layout, status);
  for (const { path, value } of status.empty ?? []) {
    if (getIn(restored, path) === undefined) restored = setIn(restored, path, value);
  }
  return { outcome: 'restored', template: restored, reasons: [] } as const;
}

/**
 * Writes the record of an injection.
 * @param original the pod before it
 * @param template the injected pod
 */
export function recordInjection(
  original: JsonObject,
  template: JsonObject,
  layout: PodLayout,
  status: InjectionStatus,
): JsonObject {
  const recorded = writeStatus(template, layout, status);
  const found = emptyValues(original, removeInjection(recorded, layout, status));
  // The order of keys may have changed by an earlier injection.
  const empty = found.toSorted((one, other) => one.path.join().localeCompare(other.path.join()));
  return empty.length === 0 ? recorded : writeStatus(template, layout, { ...status, empty });
}

/** The values that are empty or null in a pod, and missing in the restored one. */
function emptyValues(
  original: Json,
  restored: Json | undefined,
  path: Path = [],
): NonNullable<InjectionStatus['empty']> {
  if (sameJson(original, restored)) return [];
  if (isEmpty(original)) return [{ path, value: original }];
  if (isArray(original))
    return original.flatMap((item, index) => emptyValues(item, getIn(restored, [index]), [...path, index]));
  const entries = isObject(original) ? Object.entries(original) : [];
  return entries.flatMap(([key, value]) => emptyValues(value, getIn(restored, [key]), [...path, key]));
}

/** A list or map that becomes empty goes as well. */
function removeInjection(template: JsonObject, layout: PodLayout, status: InjectionStatus): JsonObject {
  const { initContainers, containers, volumes, gracePeriod, annotations, sysctls } = layout;
  let result = removeAgentEnv(template, layout, status);
  if (status.intercept !== undefined)
    result = releaseNames(removeTrustMounts(result, layout), layout, status.intercept);
  if (status.inbound !== undefined) result = moveAgentBack(result, layout, status.inbound);
  if (initContainers !== undefined) result = withoutNames(result, initContainers, OWN_CONTAINERS);
  result = withoutNames(result, containers, OWN_CONTAINERS);
  result = withoutNames(result, volumes, VOLUME_NAMES);
  // A grace period that has changed since the injection is kept.
  if (status.gracePeriod !== undefined && gracePeriod !== undefined) {
    const { before, after } = status.gracePeriod;
    if (getIn(result, gracePeriod) === after) result = setIn(result, gracePeriod, before ?? undefined);
  }
  result = setIn(result, [...annotations, STATUS_ANNOTATION], undefined);
  const parents = [sysctls, annotations, volumes].flatMap((path) => (path === undefined ? [] : [path.slice(0, -1)]));
  for (const path of [annotations, ...parents]) {
    const value = getIn(result, path);
    const wasEmpty = sameJson(value, getIn(template, path));
    if (path.length > 0 && value !== undefined && isEmpty(value) && !wasEmpty) result = setIn(result, path, undefined);
  }
  return result;
}

function withoutNames(template: JsonObject, path: Path, names: readonly string[]): JsonObject {
  const list = getIn(template, path);
  if (!isArray(list)) return template;
  const kept = list.filter((item) => !(isObject(item) && typeof item.name === 'string' && names.includes(item.name)));
  if (kept.length === list.length) return template;
  return setIn(template, path, kept.length > 0 ? kept : undefined);
}
