import type { EnvVar } from 'kubernetes-types/core/v1.js';
import { type MoveRecord, PORT_PATHS } from './injection-status.ts';
import { getIn, itemsOf, type Json, type JsonObject, objectsOf, quote, setIn, textOf } from './json.ts';
import type { InboundPorts } from './options.ts';
import { type PodLayout, SIDECAR_NAME } from './pod-layout.ts';

export interface Move {
  readonly template: JsonObject;
  readonly record: MoveRecord;
  readonly notes: readonly string[];
}

/** Tells programs of many frameworks where to listen. */
const VARIABLE = 'PORT';

/**
 * Moves the agent to another port, so that cambist can take over the one that callers use. The declared port stays: a Service that
 * names it then leads to cambist, on every version of Kubernetes.
 * @returns why the agent cannot be moved, each with a remedy, or the move
 */
export function moveAgent(template: JsonObject, layout: PodLayout, ports: InboundPorts): Move | readonly string[] {
  if (layout.initContainers === undefined) {
    return ["kagent's controller sets the port of the agent: deploy the agent as a Deployment to use inbound"];
  }
  const found = findAgent(template, layout, ports.inbound);
  if (typeof found === 'string') return [found];
  const { container, path } = found;
  const name = textOf(container.name) ?? '';
  const problems = obstacles(container, name, ports);
  if (problems.length > 0) return problems;
  const portBefore = textOf(getIn(variableOf(container), ['value'])) ?? null;
  const probes = PORT_PATHS.flatMap((target) => {
    const before = getIn(container, target);
    const isMoved = before === ports.inbound || isNameOf(before, container, ports.inbound);
    return isMoved && (typeof before === 'string' || typeof before === 'number') ? [{ path: target, before }] : [];
  });
  let moved = setIn(container, ['env'], withPort(container.env, String(ports.agent)));
  for (const { path: target } of probes) moved = setIn(moved, target, ports.agent);
  const record = { container: name, ...ports, portBefore, probes };
  return { template: setIn(template, path, moved), record, notes: notesOn(container, name, ports, probes.length) };
}

/** Moves the agent back. A value that has changed since is kept. */
export function moveAgentBack(template: JsonObject, layout: PodLayout, record: MoveRecord): JsonObject {
  const containers = itemsOf(getIn(template, layout.containers));
  const index = containers.findIndex((one) => getIn(one, ['name']) === record.container);
  if (index < 0) return template;
  const path = [...layout.containers, index];
  let container = getIn(template, path) as JsonObject;
  for (const { path: target, before } of record.probes) {
    if (getIn(container, target) === record.agent) container = setIn(container, target, before);
  }
  if (getIn(variableOf(container), ['value']) === String(record.agent)) {
    const env = withPort(container.env, record.portBefore);
    container = setIn(container, ['env'], env.length > 0 ? env : undefined);
  }
  return setIn(template, path, container);
}

/** The container that declares the port, or the only one. */
function findAgent(template: JsonObject, { containers }: PodLayout, inbound: number) {
  const candidates = itemsOf(getIn(template, containers)).flatMap((one, index) => {
    const name = textOf(getIn(one, ['name']));
    if (name === undefined || name === SIDECAR_NAME) return [];
    return [{ container: one as JsonObject, path: [...containers, index] }];
  });
  const declaring = candidates.filter(({ container }) => declares(container, inbound));
  const [agent, ...others] = declaring.length > 0 ? declaring : candidates;
  if (agent === undefined) return 'the pod has no container: nothing listens on the port of inbound';
  if (others.length > 0) {
    return declaring.length > 0
      ? `two containers declare port ${inbound}: keep it in one of them`
      : `no container declares port ${inbound}: add it to the ports of the agent's container`;
  }
  return agent;
}

function obstacles(container: JsonObject, name: string, { inbound, agent }: InboundPorts): string[] {
  const variable = variableOf(container);
  const value = textOf(getIn(variable, ['value']));
  const isKnown = variable === undefined || value === String(inbound) || value === String(agent);
  const literal = new RegExp(`(?<!\\d)${inbound}(?!\\d)`);
  const words = [container.command, container.args].flatMap(itemsOf);
  const isFixed = words.some((word) => typeof word === 'string' && literal.test(word));
  return [
    ...(isKnown
      ? []
      : [`container ${quote(name)} sets ${VARIABLE} to another value: set it to ${inbound}, or remove it`]),
    ...(isFixed
      ? [`the command of container ${quote(name)} contains port ${inbound}: write $(${VARIABLE}) in its place`]
      : []),
  ];
}

function notesOn(container: JsonObject, name: string, { inbound, agent }: InboundPorts, probes: number): string[] {
  const literal = new RegExp(`(?<!\\d)${inbound}(?!\\d)`);
  const others = objectsOf(container.env).flatMap((variable) => {
    const text = textOf(variable.value);
    return variable.name !== VARIABLE && text !== undefined && literal.test(text) ? [textOf(variable.name) ?? ''] : [];
  });
  return [
    `container ${quote(name)} must listen on port ${agent}, which ${VARIABLE} tells it`,
    ...(getIn(container, ['lifecycle', 'preStop']) === undefined
      ? [`container ${quote(name)} has no preStop hook, so a rollout can lose requests: let it sleep for 10 seconds`]
      : []),
    ...(probes === 0 ? [] : [`its probes and hooks on port ${inbound} now use port ${agent}`]),
    ...others.map((other) => `its variable ${quote(other)} contains ${inbound}: check that it means cambist`),
    `the config needs inbound with listen 0.0.0.0:${inbound} and agent http://127.0.0.1:${agent}`,
  ];
}

function variableOf(container: JsonObject): JsonObject | undefined {
  return objectsOf(container.env).find(({ name }) => name === VARIABLE);
}

/** @param value null removes the variable */
function withPort(env: Json | undefined, value: string | null): Json[] {
  const list = itemsOf(env);
  const variable = { name: VARIABLE, value: value ?? '' } satisfies EnvVar;
  const isPort = (one: Json): boolean => getIn(one, ['name']) === VARIABLE;
  if (value === null) return list.filter((one) => !isPort(one));
  // First, because later variables may refer to it.
  return list.some(isPort) ? list.map((one) => (isPort(one) ? variable : one)) : [variable, ...list];
}

function declares(container: JsonObject, port: number): boolean {
  return objectsOf(container.ports).some(
    ({ containerPort, protocol }) => containerPort === port && (protocol ?? 'TCP') === 'TCP',
  );
}

function isNameOf(name: Json | undefined, container: JsonObject, port: number): boolean {
  return (
    typeof name === 'string' &&
    objectsOf(container.ports).some((declared) => declared.name === name && declared.containerPort === port)
  );
}
