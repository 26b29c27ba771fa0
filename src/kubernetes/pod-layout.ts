import { getIn, isObject, itemsOf, type Json, type JsonObject, objectsOf, type Path, setIn, textOf } from './json.ts';

/** The name of the container. It tells the sidecar from other containers. */
export const SIDECAR_NAME = 'cambist';

/** The name of the init container that redirects the agent's connections. */
export const REDIRECT_NAME = 'cambist-redirect';

export const OWN_CONTAINERS: readonly string[] = [SIDECAR_NAME, REDIRECT_NAME];

/** The paths of a pod's parts in the object that describes the pod. */
export interface PodLayout {
  readonly labels: Path;
  readonly annotations: Path;
  /** Some objects have no field for init containers. A native sidecar is then impossible. */
  readonly initContainers: Path | undefined;
  readonly containers: Path;
  readonly volumes: Path;
  readonly gracePeriod: Path | undefined;
  /** Some objects have no field for them. */
  readonly hostAliases: Path | undefined;
  readonly sysctls: Path | undefined;
  /** Replaces a list of each of the agent's containers. A list that `change` returns unchanged is kept. */
  readonly changeContainers: (template: JsonObject, key: ContainerList, change: ListChange) => JsonObject;
}

/** A list in a container that an injection adds to. */
type ContainerList = 'env' | 'volumeMounts';

/** @returns the new list; undefined removes it */
type ListChange = (container: AgentContainer, list: Json | undefined) => Json | undefined;

interface AgentContainer {
  readonly name: string;
  /** `early`: an init container that runs before cambist. `init`: another init container. */
  readonly kind: 'main' | 'init' | 'early';
}

/** A Pod, and the pod template of a workload. */
export const POD: PodLayout = {
  labels: ['metadata', 'labels'],
  annotations: ['metadata', 'annotations'],
  initContainers: ['spec', 'initContainers'],
  containers: ['spec', 'containers'],
  volumes: ['spec', 'volumes'],
  gracePeriod: ['spec', 'terminationGracePeriodSeconds'],
  hostAliases: ['spec', 'hostAliases'],
  sysctls: ['spec', 'securityContext', 'sysctls'],
  changeContainers(template, key, change) {
    const list = itemsOf(getIn(template, ['spec', 'initContainers']));
    const own = list.findIndex((one) => getIn(one, ['name']) === SIDECAR_NAME);
    const kindOf = (index: number) => (own >= 0 && index > own ? 'init' : 'early');
    const changed = changeLists(template, ['spec', 'initContainers'], key, change, kindOf);
    return changeLists(changed, ['spec', 'containers'], key, change, () => 'main');
  },
};

/** kagent's Agent, below `spec.declarative` or `spec.byo`. The controller creates the pod, with its own container "kagent". */
export const KAGENT: PodLayout = {
  labels: ['deployment', 'labels'],
  annotations: ['deployment', 'annotations'],
  initContainers: undefined,
  containers: ['deployment', 'extraContainers'],
  volumes: ['deployment', 'volumes'],
  gracePeriod: undefined,
  hostAliases: undefined,
  sysctls: undefined,
  changeContainers(template, key, change) {
    const path = ['deployment', key];
    const list = getIn(template, path);
    const next = change({ name: 'kagent', kind: 'main' }, list);
    return next === list ? template : setIn(template, path, next);
  },
};

export function allContainers(template: JsonObject, layout: PodLayout): readonly JsonObject[] {
  return [...initContainersOf(template, layout), ...objectsOf(getIn(template, layout.containers))];
}

export function initContainersOf(template: JsonObject, { initContainers }: PodLayout): readonly JsonObject[] {
  return initContainers === undefined ? [] : objectsOf(getIn(template, initContainers));
}

/** Copies the list of containers once. A copy for each container would take time with the square of their number. */
function changeLists(
  template: JsonObject,
  path: Path,
  key: ContainerList,
  change: ListChange,
  kindOf: (index: number) => AgentContainer['kind'],
): JsonObject {
  const containers = itemsOf(getIn(template, path));
  const changed = containers.map((container, index) => {
    const name = isObject(container) ? textOf(container.name) : undefined;
    if (name === undefined || OWN_CONTAINERS.includes(name)) return container;
    const list = getIn(container, [key]);
    const next = change({ name, kind: kindOf(index) }, list);
    return next === list ? container : setIn(container, [key], next);
  });
  return changed.every((container, index) => container === containers[index])
    ? template
    : setIn(template, path, changed);
}
