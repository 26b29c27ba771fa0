import type { HostAlias, Sysctl } from 'kubernetes-types/core/v1.js';
import { withoutBrackets } from '../host-names.ts';
import type { InjectionStatus } from './injection-status.ts';
import { getIn, itemsOf, type Json, type JsonObject, objectsOf, quote, setIn, textOf } from './json.ts';
import { annotationOf } from './option-sources.ts';
import type { InjectionOptions } from './options.ts';
import type { InterceptFacts } from './pod-config.ts';
import type { PodLayout } from './pod-layout.ts';
import { DEFAULT_REDIRECTS, rawSocketNotes, redirectConflicts, redirectContainer } from './redirect.ts';
import { mountConflicts } from './sidecar.ts';

/** The addresses at which cambist listens for names, if its config is unknown. */
const NAMES_PORTS = [443, 80];

export type InterceptPlan = NonNullable<ReturnType<typeof planIntercept>>;

/**
 * Plans the changes of an injection by which the agent's connections get to cambist.
 * @param facts undefined: the config is unknown
 * @returns the ports that cambist listens on for this way, the names that lead to it, and the container that redirects packets
 */
export function planIntercept({ intercept, imagePullPolicy }: InjectionOptions, facts: InterceptFacts | undefined) {
  if (intercept === undefined) return undefined;
  const { way, hosts, redirectImage } = intercept;
  if (way === 'names') {
    const ports = distinct(facts?.listen.map(({ port }) => port) ?? NAMES_PORTS);
    const addresses = [
      '127.0.0.1',
      ...(facts?.listen.some(({ host }) => withoutBrackets(host) === '::1') ? ['::1'] : []),
    ];
    const names = { ports, addresses, hosts: distinct([...(facts?.hosts ?? []), ...hosts]) };
    return { way, ports, names, redirect: undefined };
  }
  if (way === 'packets') {
    const redirects = [
      ...new Map([...DEFAULT_REDIRECTS, ...(facts?.redirects ?? [])].map((one) => [one.from, one])).values(),
    ];
    const redirect = redirectContainer(redirectImage ?? '', redirects, imagePullPolicy);
    return { way, ports: distinct(redirects.map(({ to }) => to)), names: undefined, redirect };
  }
  return { way, ports: [] as number[], names: undefined, redirect: undefined };
}

/** @returns why the pod cannot be intercepted, each with a remedy */
export function interceptConflicts(
  template: JsonObject,
  layout: PodLayout,
  { names, redirect, ports }: InterceptPlan,
  { port, adminPort, inbound }: InjectionOptions,
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

export function interceptNotes(
  template: JsonObject,
  layout: PodLayout,
  { way }: InterceptPlan,
  sidecar: InjectionOptions['sidecar'],
  facts: InterceptFacts | undefined,
): string[] {
  return [
    ...(way === 'names' || facts?.hasConnect === true ? [] : [CONNECT_NOTE]),
    ...(way === 'packets' ? rawSocketNotes(template, layout) : []),
    ...(sidecar === 'classic'
      ? ['a classic sidecar may start after the agent, which must wait for the trust folder and retry its calls']
      : []),
  ];
}

const CONNECT_NOTE =
  "https calls to hosts of no route, such as the model's API, need an entry in forward_proxy.connect";

function distinct<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}

/** Lets a user that is not root listen on ports from its value on. Kubernetes counts it as safe. */
const PORT_START = 'net.ipv4.ip_unprivileged_port_start';

/** The lowest port that needs no privileges where nothing else is set. */
const FIRST_FREE_PORT = 1024;

type NamesPlan = NonNullable<InterceptPlan['names']>;

type NamesRecord = Pick<NonNullable<InjectionStatus['intercept']>, 'aliases' | 'sysctl'>;

/** @returns why the names cannot lead to cambist, each with a remedy */
function namesConflicts(template: JsonObject, layout: PodLayout, { hosts, addresses, ports }: NamesPlan) {
  if (layout.hostAliases === undefined || layout.sysctls === undefined) {
    return ["kagent's Agent has no field for hostAliases: use the webhook, or the way proxy"];
  }
  const own = objectsOf(getIn(template, layout.hostAliases)).filter(({ ip }) => !addresses.includes(textOf(ip) ?? ''));
  const taken = new Set(own.flatMap(({ hostnames }) => itemsOf(hostnames)));
  const start = textOf(getIn(sysctlIn(template, layout), ['value']));
  const lowest = Math.min(...ports);
  return [
    ...hosts
      .filter((host) => taken.has(host))
      .map((host) => `hostAliases leads ${quote(host)} elsewhere: remove it there`),
    ...(start !== undefined && Number(start) > lowest
      ? [`sysctl ${PORT_START} is ${quote(start)}: set it to "${lowest}" or less`]
      : []),
  ];
}

/** Leads the names to cambist. The names and sysctls of the pod stay. */
function leadNames(template: JsonObject, layout: PodLayout, plan: NamesPlan) {
  const { hostAliases = [], sysctls = [] } = layout;
  let result = template;
  const aliases: NonNullable<NamesRecord['aliases']>[number][] = [];
  for (const ip of plan.addresses) {
    const list = itemsOf(getIn(result, hostAliases));
    // API servers take the address as the key of an entry, so it must not be there twice.
    const index = list.findIndex((alias) => getIn(alias, ['ip']) === ip);
    const present = getIn(list, [index, 'hostnames']);
    const hostnames = plan.hosts.filter((host) => !itemsOf(present).includes(host));
    if (hostnames.length === 0) continue;
    const alias = { ip, hostnames } satisfies HostAlias;
    aliases.push({ ...alias, isNew: index < 0 });
    result =
      index < 0
        ? setIn(result, hostAliases, [...list, alias])
        : setIn(result, [...hostAliases, index, 'hostnames'], [...itemsOf(present), ...hostnames]);
  }
  const lowest = Math.min(...plan.ports);
  const needsSysctl = lowest < FIRST_FREE_PORT && sysctlIn(template, layout) === undefined;
  const sysctl = { name: PORT_START, value: String(lowest) } satisfies Sysctl;
  if (needsSysctl) result = setIn(result, sysctls, [...itemsOf(getIn(result, sysctls)), sysctl]);
  const record: NamesRecord = {
    ...(aliases.length > 0 && { aliases }),
    ...(needsSysctl && { sysctl: sysctl.value }),
  };
  return { template: result, record };
}

/** Removes the names and the sysctl that `leadNames` added. */
export function releaseNames(template: JsonObject, layout: PodLayout, { aliases = [], sysctl }: NamesRecord) {
  const { hostAliases, sysctls } = layout;
  if (hostAliases === undefined || sysctls === undefined) return template;
  let result = template;
  for (const { ip, hostnames, isNew } of aliases) {
    const list = itemsOf(getIn(result, hostAliases));
    const index = list.findIndex((alias) => getIn(alias, ['ip']) === ip);
    if (index < 0) continue;
    const added = new Set<Json>(hostnames);
    const kept = itemsOf(getIn(list, [index, 'hostnames'])).filter((host) => !added.has(host));
    result =
      kept.length === 0 && isNew
        ? setIn(result, hostAliases, list.length > 1 ? list.toSpliced(index, 1) : undefined)
        : setIn(result, [...hostAliases, index, 'hostnames'], kept.length > 0 ? kept : undefined);
  }
  if (sysctl === undefined) return result;
  const list = itemsOf(getIn(result, sysctls));
  const kept = list.filter((one) => !(getIn(one, ['name']) === PORT_START && getIn(one, ['value']) === sysctl));
  if (kept.length === list.length) return result;
  return setIn(result, sysctls, kept.length > 0 ? kept : undefined);
}

function sysctlIn(template: JsonObject, { sysctls = [] }: PodLayout): JsonObject | undefined {
  return objectsOf(getIn(template, sysctls)).find(({ name }) => name === PORT_START);
}
