import { getIn, isArray, type Json, textOf } from './json.ts';
import { type Covers, createPodConfig, type PodConfig } from './pod-config.ts';

/** The file in the sidecar's config folder. */
const KEY = 'cambist.yaml';

/** The config in a ConfigMap of the manifests. */
export interface StreamConfig {
  readonly name: string;
  readonly namespace: string | undefined;
  readonly text: string;
  readonly config: PodConfig;
}

/** The configs in the ConfigMaps among manifests, and in the items of Lists. */
export function configsIn(manifests: readonly Json[], covers: Covers): StreamConfig[] {
  return manifests.flatMap((manifest): StreamConfig[] => {
    const items = getIn(manifest, ['items']);
    if (isArray(items)) return configsIn(items, covers);
    const text = textOf(getIn(manifest, ['data', KEY]));
    const name = textOf(getIn(manifest, ['metadata', 'name']));
    if (getIn(manifest, ['kind']) !== 'ConfigMap' || text === undefined || name === undefined) return [];
    const namespace = textOf(getIn(manifest, ['metadata', 'namespace']));
    return [{ name, namespace, text, config: createPodConfig(text, `ConfigMap ${name}, ${KEY}`, covers) }];
  });
}

/** The config that a pod mounts. An object without a namespace is applied to any. */
export function findConfig(configs: readonly StreamConfig[], name: string, namespace: string | undefined) {
  const named = configs.filter((one) => one.name === name);
  const exact = named.find((one) => one.namespace === namespace);
  return (exact ?? named.find((one) => one.namespace === undefined || namespace === undefined))?.config;
}
