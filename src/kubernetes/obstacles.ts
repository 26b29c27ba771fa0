import { getIn, isArray, type JsonObject, objectsOf, textOf } from './json.ts';
import type { InjectionOptions } from './options.ts';
import { allContainers, initContainersOf, type PodLayout } from './pod-layout.ts';
import { quote } from './quote.ts';
import { ADMIN_PORT_NAME, SIDECAR_NAME, SIDECAR_USER, VOLUME_NAMES } from './sidecar.ts';
import { STATUS_ANNOTATION } from './status.ts';

/** Why cambist cannot be put into this pod; each with what would help. */
export function collisions(template: JsonObject, options: InjectionOptions, layout: PodLayout): string[] {
  const hasOurName = allContainers(template, layout).some(({ name }) => name === SIDECAR_NAME);
  const volumes = objectsOf(getIn(template, layout.volumes)).map(({ name }) => textOf(name));
  const classicThatEnds = options.sidecar === 'classic' && runsToCompletion(template);
  return [
    ...(hasOurName ? [`a container "${SIDECAR_NAME}" is there that was not injected: take it away`] : []),
    ...takenPorts(template, options, layout),
    ...VOLUME_NAMES.filter((name) => volumes.includes(name)).map(
      (name) => `a volume "${name}" is there that was not injected: rename it`,
    ),
    ...(classicThatEnds ? ['a classic sidecar would keep it from ever completing: let it be a native one'] : []),
  ];
}

/** Which other containers have cambist's ports, or the name of one. */
export function takenPorts(
  template: JsonObject,
  { port, adminPort }: Pick<InjectionOptions, 'port' | 'adminPort'>,
  layout: PodLayout,
): string[] {
  const others = allContainers(template, layout).filter(({ name }) => name !== SIDECAR_NAME);
  return others.flatMap((container) => {
    const name = quote(textOf(container.name) ?? '');
    return objectsOf(container.ports).flatMap(({ containerPort, protocol, name: portName }) => {
      const isTaken = (containerPort === port || containerPort === adminPort) && (protocol ?? 'TCP') === 'TCP';
      if (isTaken)
        return [`port ${containerPort} is container ${name}'s: choose another with cambist.dev/port or admin-port`];
      return portName === ADMIN_PORT_NAME ? [`a port of container ${name} is called "${ADMIN_PORT_NAME}"`] : [];
    });
  });
}

/**
 * Why a container of our name does not run cambist beside the agent, whatever the status says. Image, resources, probes and the
 * like are not looked at: other webhooks rewrite them, and an annotation lets the pod's author choose the image anyway.
 */
export function falseSidecar(template: JsonObject, layout: PodLayout): string[] {
  const isOurs = ({ name }: JsonObject): boolean => name === SIDECAR_NAME;
  const ends = initContainersOf(template, layout).some((one) => isOurs(one) && one.restartPolicy !== 'Always');
  const programs = allContainers(template, layout)
    .filter(isOurs)
    .flatMap(({ command, args }) => [command, args]);
  const help = `take it away, and the annotation ${STATUS_ANNOTATION} with it`;
  return [
    ...(ends ? [`container "${SIDECAR_NAME}" is an init container that ends before the agent starts: ${help}`] : []),
    ...(programs.some((list) => isArray(list) && list.length > 0)
      ? [`container "${SIDECAR_NAME}" has a command or arguments, which no sidecar of cambist has: ${help}`]
      : []),
  ];
}

/** Why no pod like this one is given a sidecar, whatever it is called and listens on. */
export function unsuitable(template: JsonObject): string[] {
  const hostNetwork = getIn(template, ['spec', 'hostNetwork']) === true;
  // Whoever sees a process and has its user finds its environment and its files in /proc; root can become any user.
  const seen = ['shareProcessNamespace', 'hostPID'].filter((key) => getIn(template, ['spec', key]) === true);
  const readers = `root or user ${SIDECAR_USER} in any container that sees its process could read cambist's secrets`;
  const windows = getIn(template, ['spec', 'os', 'name']) === 'windows';
  return [
    ...(hostNetwork ? ["it is on the node's network, where all of the node could call its cambist"] : []),
    ...seen.map((key) => `${readers}: take ${key} away`),
    ...(windows ? ['it runs on Windows, and the image is for Linux'] : []),
  ];
}

function runsToCompletion(template: JsonObject): boolean {
  const policy = getIn(template, ['spec', 'restartPolicy']);
  return policy === 'Never' || policy === 'OnFailure';
}
