import type { EnvVar } from 'kubernetes-types/core/v1.js';
import { NO_PROXY } from '../config/agent-variables.ts';
import { getIn, isArray, isEmpty, type Json, type JsonObject, objectsOf, textOf } from './json.ts';
import { toPointer } from './json-patch.ts';
import type { PodLayout } from './pod-layout.ts';
import { quote } from './quote.ts';
import { SIDECAR_NAME } from './sidecar.ts';
import { emptyBefore, type InjectionStatus } from './status.ts';

/** The number of variables that an injection sets on a container: HTTP_PROXY and NO_PROXY, in both spellings. */
export const PROXY_VARIABLES = 4;

/** Told with each injection, because such calls leave no other trace. `deploy/inject.md` has the table of runtimes. */
const BYPASS = [
  "only HTTP_PROXY is set: calls to https URLs bypass cambist, with the caller's own token",
  'Node.js without NODE_USE_ENV_PROXY=1, Java, aiohttp and Go clients with a transport of their own ignore it',
];

const PROXY = /^http:\/\/127\.0\.0\.1:\d+$/;

export interface ProxyEnv {
  readonly template: JsonObject;
  /** The names of the variables that were set, by container. */
  readonly set: Readonly<Record<string, string[]>>;
  /** The lists that were empty or null before, by JSON Pointer. */
  readonly empty: Readonly<Record<string, Json>>;
  /** The limits of these variables, and which were left unchanged. */
  readonly notes: readonly string[];
}

/**
 * Sets the proxy variables on the agent's containers, in both spellings because clients differ in which they read. A variable
 * that is present in either spelling is left unchanged. HTTPS_PROXY is not set: cambist does not terminate TLS.
 */
export function addProxyEnv(template: JsonObject, layout: PodLayout, port: number): ProxyEnv {
  const set = new Map<string, string[]>();
  const empty = new Map<string, Json>();
  const notes: string[] = [];
  const wanted = Object.entries({ HTTP_PROXY: `http://127.0.0.1:${port}`, NO_PROXY });
  const result = layout.changeEnvironments(template, (container, env, path) => {
    if (container === SIDECAR_NAME) return env;
    const present = new Set(objectsOf(env).map(({ name }) => textOf(name)?.toUpperCase()));
    const added = wanted.flatMap(([variable, value]) => {
      if (!present.has(variable))
        return [variable, variable.toLowerCase()].map((name) => ({ name, value }) satisfies EnvVar);
      notes.push(`container ${quote(container)} already sets ${variable}: left unchanged`);
      return [];
    });
    if (added.length === 0) return env;
    set.set(
      container,
      added.map(({ name }) => name),
    );
    if (env !== undefined && isEmpty(env)) empty.set(toPointer(path), env);
    return [...(isArray(env) ? env : []), ...added];
  });
  if (set.size > 0) notes.push(...BYPASS);
  return { template: result, set: Object.fromEntries(set), empty: Object.fromEntries(empty), notes };
}

/** Removes the variables that an injection set, unless their value has changed since. */
export function removeProxyEnv(
  template: JsonObject,
  layout: PodLayout,
  { proxyEnv: set = {}, empty = {} }: Pick<InjectionStatus, 'proxyEnv' | 'empty'>,
): JsonObject {
  return layout.changeEnvironments(template, (container, env, path) => {
    if (!Object.hasOwn(set, container) || !isArray(env)) return env;
    const names = new Set(set[container]);
    const kept = env.filter((variable) => {
      const value = textOf(getIn(variable, ['value'])) ?? '';
      return !names.has(textOf(getIn(variable, ['name'])) ?? '') || !(value === NO_PROXY || PROXY.test(value));
    });
    if (kept.length === env.length) return env;
    return kept.length > 0 ? kept : emptyBefore(empty, path);
  });
}
