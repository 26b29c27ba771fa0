import { getIn, isArray, isObject, type Json, type JsonObject, objectsOf, type Path, textOf } from './json.ts';

/** Where the parts of a pod stand in what describes it. */
export interface PodLayout {
  readonly labels: Path;
  readonly annotations: Path;
  /** Missing where there can be none, and with them no native sidecar. */
  readonly initContainers: Path | undefined;
  readonly containers: Path;
  readonly volumes: Path;
  readonly gracePeriod: Path | undefined;
  /** The agent's own containers: their names, and where each one's environment stands. */
  readonly agents: (template: JsonObject) => readonly Agent[];
}

export interface Agent {
  readonly name: string;
  readonly env: Path;
}

/** A Pod, and the pod template of every kind that has one. */
export const POD: PodLayout = {
  labels: ['metadata', 'labels'],
  annotations: ['metadata', 'annotations'],
  initContainers: ['spec', 'initContainers'],
  containers: ['spec', 'containers'],
  volumes: ['spec', 'volumes'],
  gracePeriod: ['spec', 'terminationGracePeriodSeconds'],
  agents: (template) => agentsIn(getIn(template, ['spec', 'containers']), ['spec', 'containers']),
};

/** kagent's Agent, below `spec.declarative` or `spec.byo`: the controller makes the pod, with its own container "kagent". */
export const KAGENT: PodLayout = {
  labels: ['deployment', 'labels'],
  annotations: ['deployment', 'annotations'],
  initContainers: undefined,
  containers: ['deployment', 'extraContainers'],
  volumes: ['deployment', 'volumes'],
  gracePeriod: undefined,
  agents: () => [{ name: 'kagent', env: ['deployment', 'env'] }],
};

/** All containers of a pod that are there while it runs or starts. */
export function allContainers(template: JsonObject, layout: PodLayout): readonly JsonObject[] {
  return [...initContainersOf(template, layout), ...objectsOf(getIn(template, layout.containers))];
}

export function initContainersOf(template: JsonObject, { initContainers }: PodLayout): readonly JsonObject[] {
  return initContainers === undefined ? [] : objectsOf(getIn(template, initContainers));
}

function agentsIn(containers: Json | undefined, path: Path): Agent[] {
  if (!isArray(containers)) return [];
  return containers.flatMap((container, index) => {
    const name = isObject(container) ? textOf(container.name) : undefined;
    return name === undefined ? [] : [{ name, env: [...path, index, 'env'] }];
  });
}
