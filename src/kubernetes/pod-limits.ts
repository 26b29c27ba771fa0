import { MAX_AGENT_VARIABLES } from './agent-env.ts';
import { getIn, itemsOf, type JsonObject, type Path } from './json.ts';
import { allContainers, type PodLayout } from './pod-layout.ts';
import { VOLUME_NAMES } from './sidecar.ts';

/**
 * The most entries of a pod that cambist processes. The API server calls the webhook before it validates the pod, and one
 * webhook serves all namespaces, so no pod may occupy it for long. Real pods stay far below.
 */
const MAX_CONTAINERS = 500;
const MAX_VOLUMES = 1_000;
const MAX_VARIABLES = 10_000;
const MAX_PORTS = 1_000;
const MAX_MOUNTS = 10_000;
const MAX_ANNOTATIONS = 1_000;

/** The most entries that an injection adds, so that an injected pod at the limit can be injected again. */
const ADDED_VARIABLES = MAX_CONTAINERS * MAX_AGENT_VARIABLES + 2;

/** @returns why the pod is too large to process; empty if it is not */
export function exceededLimits(template: JsonObject, layout: PodLayout, isInjected: boolean): string[] {
  const containers = allContainers(template, layout);
  const total = (key: string): number => containers.reduce((sum, container) => sum + lengthOf(container, [key]), 0);
  const counts: readonly [what: string, count: number, limit: number, added: number][] = [
    ['containers', containers.length, MAX_CONTAINERS, 1],
    ['volumes', lengthOf(template, layout.volumes), MAX_VOLUMES, VOLUME_NAMES.length],
    ['environment variables', total('env'), MAX_VARIABLES, ADDED_VARIABLES],
    ['container ports', total('ports'), MAX_PORTS, 1],
    ['volume mounts', total('volumeMounts'), MAX_MOUNTS, MAX_CONTAINERS + 2],
    ['annotations', annotationCount(template, layout), MAX_ANNOTATIONS, 1],
  ];
  return counts
    .filter(([, count, limit, added]) => count > limit + (isInjected ? added : 0))
    .map(([what, count, limit]) => `the pod has ${count} ${what}: the limit is ${limit}`);
}

function annotationCount(template: JsonObject, { annotations }: PodLayout): number {
  return Object.keys(getIn(template, annotations) ?? {}).length;
}

function lengthOf(value: JsonObject, path: Path): number {
  return itemsOf(getIn(value, path)).length;
}
