import { stringify } from 'yaml';
import type { Config } from '../config/config.ts';
import type { Inbound } from '../config/inbound.ts';
import { parseConfig } from '../config/load.ts';
import type { Route } from '../config/route.ts';
import type { Problem } from '../documents/config-node.ts';
import { REDIRECTED, reportForPod } from './check-pod.ts';
import { getIn, isArray, type Json } from './json.ts';
import { PRINTED } from './manifest-stream.ts';
import type { InjectionOptions, RawOptions } from './options.ts';
import type { Redirect } from './redirect.ts';
import type { ConfigMapName, Note } from './workloads.ts';

/** Kubernetes allows a ConfigMap 1 MiB, with its metadata. */
const MAX_BYTES = 1_000_000;

/** The config file that pods are injected with. */
export type PodConfig = ReturnType<typeof createPodConfig>;

/** The key of the config in its ConfigMap. */
export const CONFIG_KEY = 'cambist.yaml';

/** The ConfigMaps among manifests, and in the items of Lists. */
export function configMapsIn(manifests: readonly Json[]): readonly Json[] {
  return manifests.flatMap((manifest): readonly Json[] => {
    const items = getIn(manifest, ['items']);
    if (isArray(items)) return configMapsIn(items);
    return getIn(manifest, ['kind']) === 'ConfigMap' ? [manifest] : [];
  });
}

/** @param keys of the ConfigMap, where it exists already */
export function createPodConfig(text: string, file: string, keys: readonly string[] = [CONFIG_KEY]) {
  const problems = new Map<string, Problem>();
  const { config } = parseConfig(text, file);
  return {
    /** The ports of the config, for flags that are not given. */
    ports: portsOf(config),
    intercept: config && factsOf(config),
    /** Notes the problems of the config in a pod with these options. @returns the reason to refuse the pod, if there is one */
    check(options: InjectionOptions): readonly string[] {
      const found = parseConfig(text, file, (config, root, used) =>
        reportForPod(config, root, used, options, keys),
      ).problems;
      for (const problem of found) problems.set(JSON.stringify(problem), problem);
      const errors = found.filter(({ severity }) => severity === 'error').length;
      if (errors > 0) return [`${file} has ${errors === 1 ? 'a problem' : `${errors} problems`} in this pod`];
      return Buffer.byteLength(text) > MAX_BYTES ? [`${file} is larger than a ConfigMap may be, 1 MiB`] : [];
    },
    problems: () => [...problems.values()],
    /** The ConfigMaps that injected pods mount, as manifests. May be empty. */
    configMaps: (notes: readonly Note[]) =>
      namesIn(notes)
        .map((name) => configMap(name, text))
        .join('---\n'),
  };
}

function portsOf(config: Config | undefined): RawOptions {
  const { listen, admin, inbound } = config ?? {};
  return {
    ...(inbound !== undefined && inboundPorts(inbound)),
    ...(listen?.kind === 'tcp' && { port: String(listen.port) }),
    ...(admin?.kind === 'tcp' && { 'admin-port': String(admin.port) }),
  };
}

/** The parts of a config on which the interception of a pod depends. */
export type InterceptFacts = ReturnType<typeof factsOf>;

function factsOf({ routes, intercept, forwardProxy }: Config) {
  return {
    hosts: [...new Set(routes.flatMap(({ match }) => match.host ?? []))],
    listen: intercept?.listen ?? [],
    hasConnect: forwardProxy.connect.length > 0,
    /** The ports of the routes' hosts beside the default ones. */
    redirects: routes.flatMap(redirectFor),
  };
}

/** A route whose upstream is its own host tells the port that the agent calls there. */
function redirectFor({ match, upstream }: Route): Redirect[] {
  if (match.host === undefined || upstream.socketPath !== undefined) return [];
  const { hostname, port, protocol } = new URL(upstream.origin);
  const to = protocol === 'https:' ? REDIRECTED.https : REDIRECTED.http;
  return hostname === match.host && port !== '' ? [{ from: Number(port), to }] : [];
}

/** An invalid config has none: its check says what is wrong. */
function inboundPorts({ listen, agent }: Inbound): RawOptions {
  if (listen.kind === 'unix' || agent.socketPath !== undefined) return {};
  return { inbound: String(listen.port), 'agent-port': new URL(agent.origin).port || '80' };
}

function namesIn(notes: readonly Note[]): ConfigMapName[] {
  const names = notes.flatMap(({ configMap: name }) => (name === undefined ? [] : [name]));
  return [...new Map(names.map((name) => [JSON.stringify(name), name])).values()];
}

function configMap({ namespace, name }: ConfigMapName, text: string): string {
  const metadata = { name, ...(namespace !== undefined && { namespace }), annotations: PRINTED };
  const manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata, data: { [CONFIG_KEY]: text } };
  return stringify(manifest, { lineWidth: 0 });
}
