import type { EnvVar } from 'kubernetes-types/core/v1.js';
import { getIn, isArray, type JsonObject, objectsOf, setIn, textOf } from './json.ts';
import type { PodLayout } from './pod-layout.ts';
import { SIDECAR_NAME } from './sidecar.ts';

/** The pod's own, which must not go through the proxy. */
const NO_PROXY = 'localhost,127.0.0.1,::1';

const PROXY = /^http:\/\/127\.0\.0\.1:\d+$/;

export interface ProxyEnv {
  readonly template: JsonObject;
  /** The variables that were set, by container. */
  readonly set: Readonly<Record<string, string[]>>;
  /** What was left as it is, and why. */
  readonly notes: readonly string[];
}

/**
 * Points the agent's containers to the proxy. Both spellings of each variable, since clients differ in which they read; one
 * that is there in either spelling is left alone. HTTPS_PROXY is not set: cambist looks into no TLS.
 */
export function addProxyEnv(template: JsonObject, layout: PodLayout, port: number): ProxyEnv {
  const set: Record<string, string[]> = {};
  const notes: string[] = [];
  let result = template;
  for (const { name, env } of layout.agents(template)) {
    if (name === SIDECAR_NAME) continue;
    const list = getIn(template, env);
    const present = new Set(objectsOf(list).map((variable) => textOf(variable.name)?.toUpperCase()));
    const wanted = { HTTP_PROXY: `http://127.0.0.1:${port}`, NO_PROXY };
    const added = Object.entries(wanted).flatMap(([variable, value]) => {
      if (!present.has(variable))
        return [variable, variable.toLowerCase()].map((spelled) => ({ name: spelled, value }) satisfies EnvVar);
      notes.push(`container "${name}" has ${variable} already: left as it is`);
      return [];
    });
    if (added.length === 0) continue;
    set[name] = added.map((variable) => variable.name);
    result = setIn(result, env, [...(isArray(list) ? list : []), ...added]);
  }
  return { template: result, set, notes };
}

/** Takes the variables away again, save one that has been given another value. */
export function removeProxyEnv(template: JsonObject, layout: PodLayout, set: Readonly<Record<string, string[]>>) {
  let result = template;
  for (const { name, env } of layout.agents(template)) {
    const names = Object.hasOwn(set, name) ? set[name] : undefined;
    const list = getIn(template, env);
    if (names === undefined || !isArray(list)) continue;
    const kept = list.filter((variable) => {
      const value = textOf(getIn(variable, ['value'])) ?? '';
      return !names.includes(textOf(getIn(variable, ['name'])) ?? '') || !(value === NO_PROXY || PROXY.test(value));
    });
    result = setIn(result, env, kept);
  }
  return result;
}
