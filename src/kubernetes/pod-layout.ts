import { getIn, isArray, isObject, type Json, type JsonObject, objectsOf, type Path, setIn, textOf } from './json.ts';

/** The paths of a pod's parts in the object that describes the pod. */
export interface PodLayout {
  readonly labels: Path;
  readonly annotations: Path;
  /** Undefined if the object has no field for init containers. A native sidecar is then impossible. */
  readonly initContainers: Path | undefined;
  readonly containers: Path;
  readonly volumes: Path;
  readonly gracePeriod: Path | undefined;
  /** Replaces the environment of each of the agent's containers. A list that `change` returns unchanged is kept. */
  readonly changeEnvironments: (template: JsonObject, change: EnvironmentChange) => JsonObject;
}

/**
 * @param container the container's name
 * @param env its list of variables; undefined if it has none
 * @param path the path of the list
 * @returns the new list; undefined removes it
 */
export type EnvironmentChange = (container: string, env: Json | undefined, path: Path) => Json | undefined;

/** A Pod, and the pod template of a workload. */
export const POD: PodLayout = {
  labels: ['metadata', 'labels'],
  annotations: ['metadata', 'annotations'],
  initContainers: ['spec', 'initContainers'],
  containers: ['spec', 'containers'],
  volumes: ['spec', 'volumes'],
  gracePeriod: ['spec', 'terminationGracePeriodSeconds'],
  changeEnvironments: (template, change) => changeContainers(template, ['spec', 'containers'], change),
};

/** kagent's Agent, below `spec.declarative` or `spec.byo`. The controller creates the pod, with its own container "kagent". */
export const KAGENT: PodLayout = {
  labels: ['deployment', 'labels'],
  annotations: ['deployment', 'annotations'],
  initContainers: undefined,
  containers: ['deployment', 'extraContainers'],
  volumes: ['deployment', 'volumes'],
  gracePeriod: undefined,
  changeEnvironments: (template, change) => {
    const path = ['deployment', 'env'];
    const env = getIn(template, path);
    const next = change('kagent', env, path);
    return next === env ? template : setIn(template, path, next);
  },
};

/** The init containers and the containers of a pod. */
export function allContainers(template: JsonObject, layout: PodLayout): readonly JsonObject[] {
  return [...initContainersOf(template, layout), ...objectsOf(getIn(template, layout.containers))];
}

export function initContainersOf(template: JsonObject, { initContainers }: PodLayout): readonly JsonObject[] {
  return initContainers === undefined ? [] : objectsOf(getIn(template, initContainers));
}

/** Copies the list of containers once. A copy for each container would take time with the square of their number. */
function changeContainers(template: JsonObject, path: Path, change: EnvironmentChange): JsonObject {
  const containers = getIn(template, path);
  if (!isArray(containers)) return template;
  const changed = containers.map((container, index) => {
    const name = isObject(container) ? textOf(container.name) : undefined;
    if (name === undefined) return container;
    const env = getIn(container, ['env']);
    const next = change(name, env, [...path, index, 'env']);
    return next === env ? container : setIn(container, ['env'], next);
  });
  return changed.every((container, index) => container === containers[index])
    ? template
    : setIn(template, path, changed);
}
