import type { EnvVar } from 'kubernetes-types/core/v1.js';
import {
  javaOptions,
  NO_PROXY,
  OWN_BUNDLE_VARIABLES,
  proxyVariables,
  trustVariables,
} from '../intercept/agent-variables.ts';
import { INTERCEPT_FOLDERS } from './check-pod.ts';
import type { InjectionStatus } from './injection-status.ts';
import { getIn, isArray, itemsOf, type Json, type JsonObject, objectsOf, quote, setIn, textOf } from './json.ts';
import type { InjectionOptions } from './options.ts';
import type { PodLayout } from './pod-layout.ts';

/** The variables of `--proxy-env`, in both spellings because clients differ in which they read. */
const PLAIN = ['HTTP_PROXY', 'http_proxy', 'NO_PROXY', 'no_proxy'];

/** Notes for `--proxy-env` without the way `proxy`: such calls leave no other trace. `deploy/inject.md` has the table of runtimes. */
const BYPASS = [
  "only HTTP_PROXY is set: calls to https URLs bypass cambist, with the caller's own token",
  'Node.js without NODE_USE_ENV_PROXY=1, Java, aiohttp and Go clients with a transport of their own ignore it',
];

const PLAIN_BYPASS = 'only HTTPS_PROXY is set: calls to http URLs bypass cambist, unless proxy-env is enabled as well';

const PROXY = /^http:\/\/127\.0\.0\.1:\d+$/;

type AgentEnv = ReturnType<typeof agentEnv>;

export function agentEnv({ proxyEnv, intercept, port }: Pick<InjectionOptions, 'proxyEnv' | 'intercept' | 'port'>) {
  const proxyUrl = `http://127.0.0.1:${port}`;
  const trust = INTERCEPT_FOLDERS.trust;
  const plain = proxyEnv ? Object.entries(proxyVariables(proxyUrl)).filter(([name]) => PLAIN.includes(name)) : [];
  const isProxy = intercept?.way === 'proxy';
  const schemes = proxyEnv ? (['http', 'https'] as const) : (['https'] as const);
  return {
    variables: {
      ...(isProxy ? proxyVariables(proxyUrl, schemes) : Object.fromEntries(plain)),
      ...(intercept === undefined ? {} : trustVariables(trust)),
    } as Readonly<Record<string, string>>,
    /** Options for Java, which its variable may contain beside others. */
    java:
      intercept === undefined
        ? undefined
        : javaOptions(trust, isProxy ? proxyUrl : undefined, schemes).JAVA_TOOL_OPTIONS,
    /** Init containers get them as well, if they run after cambist has started. */
    initContainers: intercept !== undefined,
  };
}

export const MAX_AGENT_VARIABLES =
  Object.keys({ ...proxyVariables('http://127.0.0.1:1'), ...trustVariables(INTERCEPT_FOLDERS.trust) }).length + 1;

/** The variables that were set, so that this can be undone. */
type EnvRecord = Pick<InjectionStatus, 'env' | 'java'>;

/**
 * Sets variables on the agent's containers. A variable that is present in either spelling is left unchanged.
 * @returns notes on the limits of these variables, and on those that were left unchanged, too
 */
export function addAgentEnv(template: JsonObject, layout: PodLayout, wanted: AgentEnv) {
  const set = new Map<string, string[]>();
  const merged: string[] = [];
  const notes: string[] = [];
  const result = layout.changeContainers(template, 'env', ({ name: container, kind }, env) => {
    if (kind === 'early' || (kind === 'init' && !wanted.initContainers)) return env;
    const { list, kept, added, isMerged } = addTo(env, wanted);
    notes.push(...kept.map((what) => `container ${quote(container)} already sets ${what}: left unchanged`));
    if (isMerged) merged.push(container);
    if (added.length > 0) set.set(container, [...(set.get(container) ?? []), ...added]);
    return list;
  });
  if (set.size > 0) notes.push(...bypassNotes(wanted.variables));
  const isChanged = set.size > 0 || merged.length > 0;
  const java = wanted.java !== undefined && isChanged ? { options: wanted.java, merged } : undefined;
  const record = { ...(set.size > 0 && { env: Object.fromEntries(set) }), ...(java !== undefined && { java }) };
  return { template: result, record, notes };
}

function bypassNotes({ HTTP_PROXY, HTTPS_PROXY }: AgentEnv['variables']): readonly string[] {
  if (HTTP_PROXY !== undefined) return HTTPS_PROXY === undefined ? BYPASS : [];
  return HTTPS_PROXY === undefined ? [] : [PLAIN_BYPASS];
}

/** @returns the given list if nothing was added */
function addTo(env: Json | undefined, { variables, java }: AgentEnv) {
  const present = new Set(objectsOf(env).map(({ name }) => textOf(name)?.toUpperCase()));
  const added = Object.entries(variables).filter(([name]) => !present.has(name.toUpperCase()));
  const trusting = variables.SSL_CERT_FILE === undefined ? [] : OWN_BUNDLE_VARIABLES;
  const kept = [...Object.keys(variables), ...trusting].filter(
    (name) => name === name.toUpperCase() && present.has(name),
  );
  const set = [...itemsOf(env), ...added.map(([name, value]) => ({ name, value }) satisfies EnvVar)];
  const forJava = addJavaOptions(set, java);
  if (forJava.kept !== undefined) kept.push(forJava.kept);
  const names = [...added.map(([name]) => name), ...(forJava.isNew ? [VARIABLE] : [])];
  const isMerged = forJava.isMerged === true;
  return { list: names.length > 0 || isMerged ? forJava.list : env, kept, added: names, isMerged };
}

/** Adds what was set later, on other containers. */
export function joinEnvRecords(before: EnvRecord, { env = {}, java }: EnvRecord): EnvRecord {
  const names = new Set(Object.keys({ ...before.env, ...env }));
  const all = [...names].map((name) => [name, [...ownList(before.env, name), ...ownList(env, name)]]);
  const options = before.java?.options ?? java?.options;
  return {
    ...(all.length > 0 && { env: Object.fromEntries(all) }),
    ...(options !== undefined && {
      java: { options, merged: [...(before.java?.merged ?? []), ...(java?.merged ?? [])] },
    }),
  };
}

/** A container may have the name of a property that every object has. */
function ownList(record: Readonly<Record<string, string[]>> | undefined, name: string): readonly string[] {
  return record !== undefined && Object.hasOwn(record, name) ? (record[name] ?? []) : [];
}

/** Removes the variables that an injection set, unless their value has changed since. */
export function removeAgentEnv(
  template: JsonObject,
  layout: PodLayout,
  { env: set = {}, java }: EnvRecord,
): JsonObject {
  const merged = new Set(java?.merged);
  return layout.changeContainers(template, 'env', ({ name: container }, env) => {
    if (!isArray(env)) return env;
    const names = new Set(ownList(set, container));
    const kept = env.filter((variable) => {
      const name = textOf(getIn(variable, ['name'])) ?? '';
      return !(names.has(name) && isOurs(name, textOf(getIn(variable, ['value'])) ?? '', java?.options));
    });
    const restored = java !== undefined && merged.has(container) ? removeJavaOptions(kept, java.options) : kept;
    if (restored.length === env.length && restored.every((one, index) => one === env[index])) return env;
    return restored.length > 0 ? restored : undefined;
  });
}

function isOurs(name: string, value: string, java: string | undefined): boolean {
  if (name === 'NODE_USE_ENV_PROXY') return value === '1';
  return value === NO_PROXY || value === java || PROXY.test(value) || value.startsWith(`${INTERCEPT_FOLDERS.trust}/`);
}

/** Java reads all its options from this variable, so others may be there already. */
const VARIABLE = 'JAVA_TOOL_OPTIONS';

/** Adds options of Java to a list of variables. Options that the container sets itself stay, and with them all others. */
function addJavaOptions(list: readonly Json[], options: string | undefined) {
  if (options === undefined) return { list };
  // The last one counts.
  const index = list.findLastIndex(isVariable);
  if (index < 0) return { list: [...list, { name: VARIABLE, value: options } satisfies EnvVar], isNew: true };
  const value = getIn(list, [index, 'value']);
  if (typeof value !== 'string') return { list, kept: VARIABLE };
  const own = new Set(propertiesIn(value));
  const present = propertiesIn(options).find((property) => own.has(property));
  if (present !== undefined) return { list, kept: `${present} in ${VARIABLE}` };
  return { list: withValue(list, index, `${value} ${options}`), isMerged: true };
}

function withValue(list: readonly Json[], index: number, value: string): readonly Json[] {
  return list.with(index, setIn(list[index], ['value'], value));
}

function removeJavaOptions(env: readonly Json[], options: string): readonly Json[] {
  const index = env.findLastIndex(isVariable);
  const value = textOf(getIn(env, [index, 'value']));
  const added = ` ${options}`;
  if (value?.includes(added) !== true) return env;
  return withValue(
    env,
    index,
    value.replace(added, () => ''),
  );
}

function isVariable(one: Json): boolean {
  return getIn(one, ['name']) === VARIABLE;
}

function propertiesIn(options: string): string[] {
  return [...options.matchAll(/-D([\w.]+)=/g)].flatMap(([, name]) => name ?? []);
}
