import { getIn, isArray, isObject, type Json, type JsonObject, objectsOf, type Path, setIn, textOf } from './json.ts';
import { INJECT_LABEL, readConsent } from './option-sources.ts';
import { KAGENT, POD, type PodLayout } from './pod-layout.ts';

/** The outcome for one object of a manifest. */
export interface Note {
  /** The name has the form of kubectl: `deployment/agent`. */
  readonly object: string;
  readonly outcome: 'injected' | 'restored' | 'removed' | 'unchanged' | 'skipped' | 'refused';
  readonly reasons: readonly string[];
  /** The ConfigMap that the changed pod mounts, where the change tells it. */
  readonly configMap?: ConfigMapName;
}

export interface ConfigMapName {
  /** Without one, it is the namespace that the manifest is applied to. */
  readonly namespace: string | undefined;
  readonly name: string;
}

export type PodChange = (
  template: JsonObject,
  layout: PodLayout,
  namespace: string | undefined,
) => Pick<Note, 'outcome' | 'reasons'> & {
  readonly template: JsonObject;
  /** Name of the ConfigMap that the pod mounts. */
  readonly configMap?: string;
};

interface PodLocation {
  readonly path: Path;
  readonly layout: PodLayout;
}

const TEMPLATE: PodLocation = { path: ['spec', 'template'], layout: POD };

/** The pod's location in each kind that has a pod, by API group and kind. */
const LOCATIONS: Readonly<Record<string, PodLocation>> = {
  '/Pod': { path: [], layout: POD },
  'apps/Deployment': TEMPLATE,
  'apps/StatefulSet': TEMPLATE,
  'apps/DaemonSet': TEMPLATE,
  'apps/ReplicaSet': TEMPLATE,
  'batch/Job': TEMPLATE,
  'batch/CronJob': { path: ['spec', 'jobTemplate', 'spec', 'template'], layout: POD },
};

/** Changes the pods in a manifest, and in the items of a List. An object without a pod is returned unchanged, with a note. */
export function changeManifest(manifest: Json, change: PodChange): { manifest: Json; notes: Note[] } {
  const skip = (reason: string) => ({ manifest, notes: [note(manifest, 'skipped', reason)] });
  if (!isObject(manifest)) return skip('not a Kubernetes object');
  const { items } = manifest;
  if (textOf(manifest.kind)?.endsWith('List') && isArray(items)) {
    const changed = items.map((item) => changeManifest(item, change));
    return {
      manifest: { ...manifest, items: changed.map((item) => item.manifest) },
      notes: changed.flatMap(({ notes }) => notes),
    };
  }
  const location = locatePod(manifest);
  if (typeof location === 'string') return skip(location);
  const { path, layout } = location;
  // A workload opts out by its own label, or by that of its pods.
  if (readConsent(manifest, POD).consent === 'disabled') return skip(`opted out: ${INJECT_LABEL} is "disabled"`);
  const found = getIn(manifest, path);
  if (!isObject(found)) return skip(`has no ${path.join('.')}`);
  const namespace = textOf(getIn(manifest, ['metadata', 'namespace']));
  const { template, outcome, reasons, configMap } = change(found, layout, namespace);
  const changed = outcome === 'injected' || outcome === 'restored';
  const next = path.length === 0 ? template : setIn(manifest, path, template);
  const told = note(manifest, outcome, ...reasons);
  const notes = [configMap === undefined ? told : { ...told, configMap: { namespace, name: configMap } }];
  return { manifest: changed ? next : manifest, notes };
}

/** @returns the location of the pod, or why the manifest has no pod to change */
function locatePod(manifest: JsonObject): PodLocation | string {
  const kind = textOf(manifest.kind) ?? '';
  const apiVersion = textOf(manifest.apiVersion) ?? '';
  const [group = '', version = ''] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  const owner = objectsOf(getIn(manifest, ['metadata', 'ownerReferences'])).find(
    ({ controller }) => controller === true,
  );
  const location =
    group === 'kagent.dev' && kind === 'Agent' ? locateInAgent(manifest, version) : LOCATIONS[`${group}/${kind}`];
  if (location === undefined) return `a ${kind === '' ? 'document without a kind' : kind} has no pod`;
  if (owner !== undefined) return `created by ${owner.kind} "${owner.name}": inject the ${owner.kind} instead`;
  return location;
}

function locateInAgent(manifest: JsonObject, version: string): PodLocation | string {
  if (version !== 'v1alpha2') return `an Agent of kagent.dev/${version} has no field for containers: use v1alpha2`;
  const form = getIn(manifest, ['spec', 'type']) === 'BYO' ? 'byo' : 'declarative';
  return { path: ['spec', form], layout: KAGENT };
}

function note(manifest: Json, outcome: Note['outcome'], ...reasons: string[]): Note {
  const kind = textOf(getIn(manifest, ['kind']))?.toLowerCase() ?? 'document';
  const metadata = getIn(manifest, ['metadata']);
  const name = textOf(getIn(metadata, ['name'])) ?? textOf(getIn(metadata, ['generateName'])) ?? '';
  return { object: name === '' ? kind : `${kind}/${name}`, outcome, reasons };
}
