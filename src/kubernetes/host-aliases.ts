import type { HostAlias, Sysctl } from 'kubernetes-types/core/v1.js';
import type { InjectionStatus } from './injection-status.ts';
import { getIn, isEmpty, itemsOf, type Json, type JsonObject, objectsOf, quote, setIn, textOf } from './json.ts';
import type { PodLayout } from './pod-layout.ts';

/** Lets a user that is not root listen on ports from its value on. Kubernetes counts it as safe. */
const PORT_START = 'net.ipv4.ip_unprivileged_port_start';

/** The lowest port that needs no privileges where nothing else is set. */
const FIRST_FREE_PORT = 1024;

export interface NamesPlan {
  readonly hosts: readonly string[];
  readonly addresses: readonly string[];
  readonly ports: readonly number[];
}

type NamesRecord = Pick<NonNullable<InjectionStatus['intercept']>, 'aliases' | 'sysctl'>;

/** @returns why the names cannot lead to cambist, each with a remedy */
export function namesConflicts(template: JsonObject, layout: PodLayout, { hosts, addresses, ports }: NamesPlan) {
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
export function leadNames(template: JsonObject, layout: PodLayout, plan: NamesPlan) {
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
    const emptyBefore = present !== undefined && isEmpty(present) ? { emptyBefore: present } : {};
    aliases.push({ ...alias, isNew: index < 0, ...emptyBefore });
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
  for (const { ip, hostnames, isNew, emptyBefore } of aliases) {
    const list = itemsOf(getIn(result, hostAliases));
    const index = list.findIndex((alias) => getIn(alias, ['ip']) === ip);
    if (index < 0) continue;
    const added = new Set<Json>(hostnames);
    const kept = itemsOf(getIn(list, [index, 'hostnames'])).filter((host) => !added.has(host));
    result =
      kept.length === 0 && isNew
        ? setIn(result, hostAliases, list.toSpliced(index, 1))
        : setIn(result, [...hostAliases, index, 'hostnames'], kept.length > 0 ? kept : emptyBefore);
  }
  if (sysctl === undefined) return result;
  const list = itemsOf(getIn(result, sysctls));
  const kept = list.filter((one) => !(getIn(one, ['name']) === PORT_START && getIn(one, ['value']) === sysctl));
  return kept.length === list.length ? result : setIn(result, sysctls, kept);
}

function sysctlIn(template: JsonObject, { sysctls = [] }: PodLayout): JsonObject | undefined {
  return objectsOf(getIn(template, sysctls)).find(({ name }) => name === PORT_START);
}
