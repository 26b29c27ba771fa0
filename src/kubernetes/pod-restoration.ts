import { removeAgentEnv } from './agent-env.ts';
import { moveAgentBack } from './agent-port.ts';
import {
  emptyBefore,
  INVALID_STATUS,
  type InjectionStatus,
  readStatus,
  STATUS_ANNOTATION,
} from './injection-status.ts';
import { releaseNames } from './intercept-plan.ts';
import { getIn, isArray, isEmpty, isObject, type JsonObject, type Path, sameJson, setIn } from './json.ts';
import { toPointer } from './json-patch.ts';
import { OWN_CONTAINERS, type PodLayout } from './pod-layout.ts';
import { removeTrustMounts, VOLUME_NAMES } from './sidecar.ts';

/** Removes an injection from a pod, and restores the values that it replaced. The given template is not changed. */
export function uninjectPod(template: JsonObject, layout: PodLayout) {
  const status = readStatus(template, layout);
  if (status === undefined) return { outcome: 'unchanged', template, reasons: ['not injected'] } as const;
  if (status === 'invalid') return { outcome: 'refused', template, reasons: [INVALID_STATUS] } as const;
  const restored = prune(template, withoutSidecar(template, layout, status), layout, status);
  return { outcome: 'restored', template: restored, reasons: [] } as const;
}

function withoutSidecar(template: JsonObject, layout: PodLayout, status: InjectionStatus): JsonObject {
  const { initContainers, containers, volumes, gracePeriod, annotations } = layout;
  const lists = [initContainers, containers].filter((path) => path !== undefined);
  let result = removeAgentEnv(template, layout, status);
  if (status.intercept !== undefined) {
    result = releaseNames(removeTrustMounts(result, layout, status), layout, status.intercept);
  }
  if (status.inbound !== undefined) result = moveAgentBack(result, layout, status.inbound);
  for (const path of lists) result = withoutNames(result, path, OWN_CONTAINERS);
  result = withoutNames(result, volumes, VOLUME_NAMES);
  // A grace period that has changed since the injection is kept.
  if (status.gracePeriod !== undefined && gracePeriod !== undefined) {
    const { before, after } = status.gracePeriod;
    const former = before ?? emptyBefore(status.empty ?? {}, gracePeriod);
    if (getIn(result, gracePeriod) === after) result = setIn(result, gracePeriod, former);
  }
  return setIn(result, [...annotations, STATUS_ANNOTATION], undefined);
}

function withoutNames(template: JsonObject, path: Path, names: readonly string[]): JsonObject {
  const list = getIn(template, path);
  if (!isArray(list)) return template;
  const kept = list.filter((item) => !(isObject(item) && typeof item.name === 'string' && names.includes(item.name)));
  return kept.length === list.length ? template : setIn(template, path, kept);
}

/** Removes the lists and maps that the restoration emptied, unless they were empty before the injection. */
function prune(
  before: JsonObject,
  template: JsonObject,
  layout: PodLayout,
  { empty = {} }: InjectionStatus,
): JsonObject {
  let result = template;
  for (const path of collectionsOf(layout)) {
    const value = getIn(result, path);
    if (value === undefined || value === null || !isEmpty(value) || sameJson(value, getIn(before, path))) continue;
    result = setIn(result, path, emptyBefore(empty, path));
  }
  return result;
}

/** The lists and maps that an injection can add to, except the environments; inner ones first. */
export function collectionsOf(layout: PodLayout): Path[] {
  const { initContainers, containers, volumes, annotations, hostAliases, sysctls } = layout;
  const lists = [initContainers, containers, volumes, annotations, hostAliases, sysctls].filter(
    (path) => path !== undefined,
  );
  const parents = lists.map((path) => path.slice(0, -1)).filter((path) => path.length > 0);
  const distinct = [...new Map(parents.map((path) => [toPointer(path), path])).values()];
  return [...lists, ...distinct.sort((a, b) => b.length - a.length)];
}
