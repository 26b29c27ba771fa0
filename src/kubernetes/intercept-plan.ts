import { withoutBrackets } from '../config/brackets.ts';
import type { InboundPorts } from './agent-port.ts';
import { annotationOf } from './annotations.ts';
import { connectNotes } from './connect-notes.ts';
import { leadNames, type NamesPlan, namesConflicts } from './host-aliases.ts';
import type { InterceptOptions } from './intercept-options.ts';
import { mountConflicts } from './intercept-volumes.ts';
import type { JsonObject } from './json.ts';
import type { InjectionOptions } from './parse-options.ts';
import type { InterceptFacts } from './pod-config.ts';
import type { PodLayout } from './pod-layout.ts';
import { DEFAULT_REDIRECTS, rawSocketNotes, redirectConflicts, redirectContainer } from './redirect.ts';
import type { InjectionStatus } from './status.ts';

/** Where cambist listens for names, if its config is unknown. */
const NAMES_PORTS = [443, 80];

/** The changes of an injection by which the agent's connections get to cambist. */
export interface InterceptPlan {
  readonly way: InterceptOptions['way'];
  readonly names: NamesPlan | undefined;
  /** Runs before the sidecar. */
  readonly redirect: JsonObject | undefined;
  /** The ports that cambist listens on for this way. */
  readonly ports: readonly number[];
}

/** @param facts undefined: the config is unknown */
export function planIntercept(
  { intercept, imagePullPolicy }: InjectionOptions,
  facts: InterceptFacts | undefined,
): InterceptPlan | undefined {
  if (intercept === undefined) return undefined;
  const { way, hosts, redirectImage } = intercept;
  if (way === 'names') {
    const ports = distinct(facts?.listen.map(({ port }) => port) ?? NAMES_PORTS);
    const addresses = ['127.0.0.1', ...(facts?.listen.some(({ host }) => isIpv6Loopback(host)) ? ['::1'] : [])];
    return {
      way,
      ports,
      names: { ports, addresses, hosts: distinct([...(facts?.hosts ?? []), ...hosts]) },
      redirect: undefined,
    };
  }
  if (way === 'packets') {
    const redirects = [
      ...new Map([...DEFAULT_REDIRECTS, ...(facts?.redirects ?? [])].map((one) => [one.from, one])).values(),
    ];
    const redirect = redirectContainer(redirectImage ?? '', redirects, imagePullPolicy);
    return { way, ports: distinct(redirects.map(({ to }) => to)), names: undefined, redirect };
  }
  return { way, ports: [], names: undefined, redirect: undefined };
}

/** @returns why the pod cannot be intercepted, each with a remedy */
export function interceptConflicts(
  template: JsonObject,
  layout: PodLayout,
  { names, redirect, ports }: InterceptPlan,
  {
    port,
    adminPort,
    inbound,
  }: Pick<InjectionOptions, 'port' | 'adminPort'> & { readonly inbound: InboundPorts | undefined },
): string[] {
  const taken = [port, adminPort, inbound?.inbound, inbound?.agent].find(
    (one) => one !== undefined && ports.includes(one),
  );
  return [
    ...mountConflicts(template, layout),
    ...(taken === undefined ? [] : [`port ${taken} is also in intercept.listen: use another port`]),
    ...(names?.hosts.length === 0
      ? [`names need the hosts of the routes: give --config, or name them in ${annotationOf('intercept-hosts')}`]
      : []),
    ...(names === undefined ? [] : namesConflicts(template, layout, names)),
    ...(redirect === undefined ? [] : redirectConflicts(template, layout)),
  ];
}

/** Changes the pod itself. Its containers get their variables apart. */
export function applyIntercept(template: JsonObject, layout: PodLayout, { way, names, ports }: InterceptPlan) {
  const led = names === undefined ? { template, record: {} } : leadNames(template, layout, names);
  const record = { way, ports, ...led.record } satisfies InjectionStatus['intercept'];
  return { template: led.template, record };
}

/** The limits of this way for this pod. */
export function interceptNotes(
  template: JsonObject,
  layout: PodLayout,
  { way }: InterceptPlan,
  sidecar: InjectionOptions['sidecar'],
  facts: InterceptFacts | undefined,
): string[] {
  return [
    ...(way === 'names' ? [] : connectNotes(template, layout, facts)),
    ...(way === 'packets' ? rawSocketNotes(template, layout) : []),
    ...(sidecar === 'classic'
      ? ['a classic sidecar may start after the agent, which must wait for the trust folder and retry its calls']
      : []),
  ];
}

function isIpv6Loopback(host: string): boolean {
  return withoutBrackets(host) === '::1';
}

function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
