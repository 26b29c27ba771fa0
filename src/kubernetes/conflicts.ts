import { MAX_AGENT_VARIABLES } from './agent-env.ts';
import { STATUS_ANNOTATION } from './injection-status.ts';
import { type InterceptPlan, interceptConflicts } from './intercept-plan.ts';
import { getIn, isArray, itemsOf, type JsonObject, objectsOf, quote, textOf } from './json.ts';
import { annotationOf } from './option-sources.ts';
import type { InboundPorts, InjectionOptions } from './options.ts';
import { allContainers, initContainersOf, OWN_CONTAINERS, type PodLayout, SIDECAR_NAME } from './pod-layout.ts';
import { ADMIN_PORT_NAME, SIDECAR_USER, VOLUME_NAMES } from './sidecar.ts';

/** @returns why the sidecar conflicts with a pod that has none, each with a remedy */
export function conflicts(
  template: JsonObject,
  options: InjectionOptions,
  layout: PodLayout,
  plan: InterceptPlan | undefined,
): string[] {
  const present = new Set(allContainers(template, layout).map(({ name }) => textOf(name)));
  const volumes = new Set(objectsOf(getIn(template, layout.volumes)).map(({ name }) => textOf(name)));
  const cannotComplete = options.sidecar === 'classic' && runsToCompletion(template);
  return [
    ...OWN_CONTAINERS.filter((name) => present.has(name)).map(
      (name) => `a container "${name}" exists and was not injected: remove or rename it`,
    ),
    ...portConflicts(template, options, layout, plan?.ports ?? []),
    ...(plan === undefined ? [] : interceptConflicts(template, layout, plan, options)),
    ...VOLUME_NAMES.filter((name) => volumes.has(name)).map(
      (name) => `a volume "${name}" exists and was not injected: rename it`,
    ),
    ...(cannotComplete ? ['a classic sidecar would keep the pod from completing: use a native sidecar'] : []),
  ];
}

/** @returns which other containers use cambist's ports, or the name of its admin port */
export function portConflicts(
  template: JsonObject,
  own: Pick<InjectionOptions, 'port' | 'adminPort'> & { readonly inbound?: InboundPorts | undefined },
  layout: PodLayout,
  interceptPorts: readonly number[],
): string[] {
  const remedies = new Map([
    ...interceptPorts.map((port) => [port, ', which intercept.listen has: use another port in one of them'] as const),
    [own.inbound?.agent, `: choose another with ${annotationOf('agent-port')} and the config`],
    [own.adminPort, `: choose another port with ${annotationOf('admin-port')} and the config`],
    [own.port, `: choose another port with ${annotationOf('port')} and the config`],
  ]);
  const others = allContainers(template, layout).filter(({ name }) => name !== SIDECAR_NAME);
  return others.flatMap((container) => {
    const name = quote(textOf(container.name) ?? '');
    return objectsOf(container.ports).flatMap(({ containerPort, protocol, name: portName }) => {
      const remedy = typeof containerPort === 'number' && (protocol ?? 'TCP') === 'TCP' && remedies.get(containerPort);
      if (remedy) return [`container ${name} uses port ${containerPort}${remedy}`];
      return portName === ADMIN_PORT_NAME ? [`container ${name} has a port "${ADMIN_PORT_NAME}": rename the port`] : [];
    });
  });
}

/**
 * Checks the form of an existing sidecar: it must run cambist beside the agent. Image, resources and probes are not checked,
 * because other webhooks rewrite them, and the pod's author chooses the image by annotation anyway.
 * @returns why the container is not a sidecar of cambist, whatever the status annotation says
 */
export function invalidSidecar(template: JsonObject, layout: PodLayout): string[] {
  const isSidecar = ({ name }: JsonObject): boolean => name === SIDECAR_NAME;
  const exits = initContainersOf(template, layout).some((one) => isSidecar(one) && one.restartPolicy !== 'Always');
  const programs = allContainers(template, layout)
    .filter(isSidecar)
    .flatMap(({ command, args }) => [command, args]);
  const remedy = `remove it and the annotation ${STATUS_ANNOTATION}`;
  return [
    ...(exits
      ? [`container "${SIDECAR_NAME}" is an init container that exits before the agent starts: ${remedy}`]
      : []),
    ...(programs.some((list) => isArray(list) && list.length > 0)
      ? [`container "${SIDECAR_NAME}" has a command or arguments, unlike a sidecar of cambist: ${remedy}`]
      : []),
  ];
}

/** @returns why a pod like this never gets a sidecar, whatever the options */
export function unsupported(template: JsonObject): string[] {
  const isTrue = (key: string): boolean => getIn(template, ['spec', key]) === true;
  // A process that shares the PID namespace reads cambist's environment and files in /proc as its user, or as root.
  const shared = ['shareProcessNamespace', 'hostPID'].filter(isTrue);
  const readers = `root or user ${SIDECAR_USER} in another container could read cambist's secrets`;
  const isWindows = getIn(template, ['spec', 'os', 'name']) === 'windows';
  return [
    ...(isTrue('hostNetwork')
      ? ['hostNetwork is true: every process on the node could call cambist: remove hostNetwork, or use a gateway']
      : []),
    ...shared.map((key) => `${key} is true: ${readers}: remove ${key}`),
    ...(isWindows ? ["the pod runs on Windows, and cambist's image is for Linux: use a gateway"] : []),
  ];
}

function runsToCompletion(template: JsonObject): boolean {
  const policy = getIn(template, ['spec', 'restartPolicy']);
  return policy === 'Never' || policy === 'OnFailure';
}

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
  const total = (key: string): number => containers.reduce((sum, container) => sum + itemsOf(container[key]).length, 0);
  const annotations = Object.keys(getIn(template, layout.annotations) ?? {});
  const counts: readonly [what: string, count: number, limit: number, added: number][] = [
    ['containers', containers.length, MAX_CONTAINERS, 1],
    ['volumes', itemsOf(getIn(template, layout.volumes)).length, MAX_VOLUMES, VOLUME_NAMES.length],
    ['environment variables', total('env'), MAX_VARIABLES, ADDED_VARIABLES],
    ['container ports', total('ports'), MAX_PORTS, 1],
    ['volume mounts', total('volumeMounts'), MAX_MOUNTS, MAX_CONTAINERS + 2],
    ['annotations', annotations.length, MAX_ANNOTATIONS, 1],
  ];
  return counts
    .filter(([, count, limit, added]) => count > limit + (isInjected ? added : 0))
    .map(([what, count, limit]) => `the pod has ${count} ${what}: the limit is ${limit}`);
}
