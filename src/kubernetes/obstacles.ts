import { getIn, type JsonObject, objectsOf, textOf } from './json.ts';
import type { InjectionOptions } from './options.ts';
import { allContainers, type PodLayout } from './pod-layout.ts';
import { ADMIN_PORT_NAME, SIDECAR_NAME, SIDECAR_USER, VOLUME_NAMES } from './sidecar.ts';

/** Why cambist cannot be put into this pod; each with what would help. */
export function collisions(template: JsonObject, options: InjectionOptions, layout: PodLayout): string[] {
  const containers = allContainers(template, layout);
  const volumes = objectsOf(getIn(template, layout.volumes)).map(({ name }) => textOf(name));
  const classicThatEnds = options.sidecar === 'classic' && runsToCompletion(template);
  return [
    ...containers.flatMap((container) => {
      const name = textOf(container.name) ?? '';
      const ports = objectsOf(container.ports).flatMap((port) => {
        const number = port.containerPort;
        const taken = (number === options.port || number === options.adminPort) && (port.protocol ?? 'TCP') === 'TCP';
        if (taken)
          return [`port ${number} is container "${name}"'s: choose another with cambist.dev/port or admin-port`];
        return port.name === ADMIN_PORT_NAME ? [`a port of container "${name}" is called "${ADMIN_PORT_NAME}"`] : [];
      });
      const isOurs = name === SIDECAR_NAME;
      return isOurs ? [`a container "${SIDECAR_NAME}" is there that was not injected: take it away`] : ports;
    }),
    ...VOLUME_NAMES.filter((name) => volumes.includes(name)).map(
      (name) => `a volume "${name}" is there that was not injected: rename it`,
    ),
    ...(classicThatEnds ? ['a classic sidecar would keep it from ever completing: let it be a native one'] : []),
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
