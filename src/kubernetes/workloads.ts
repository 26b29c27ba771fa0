import { consentOf, INJECT_LABEL } from './annotations.ts';
import { getIn, isArray, isObject, type Json, type JsonObject, objectsOf, type Path, setIn, textOf } from './json.ts';
import { KAGENT, POD, type PodLayout } from './pod-layout.ts';

/** What became of one object of a manifest. */
export interface Note {
  /** As kubectl writes it: `deployment/agent`. */
  readonly object: string;
  readonly outcome: 'injected' | 'restored' | 'unchanged' | 'skipped' | 'refused';
  readonly reasons: readonly string[];
}

/** What is done to a pod, or to what one is made from. */
export type PodChange = (
  template: JsonObject,
  layout: PodLayout,
) => { readonly template: JsonObject; readonly outcome: Note['outcome']; readonly reasons: readonly string[] };

interface PodPlace {
  readonly path: Path;
  readonly layout: PodLayout;
}

const TEMPLATE: PodPlace = { path: ['spec', 'template'], layout: POD };

/** Where the pod is in each kind that has one, by API group and kind. */
const PLACES: Readonly<Record<string, PodPlace>> = {
  '/Pod': { path: [], layout: POD },
  'apps/Deployment': TEMPLATE,
  'apps/StatefulSet': TEMPLATE,
  'apps/DaemonSet': TEMPLATE,
  'apps/ReplicaSet': TEMPLATE,
  'batch/Job': TEMPLATE,
  'batch/CronJob': { path: ['spec', 'jobTemplate', 'spec', 'template'], layout: POD },
};

/** Changes the pods in a manifest, those in a List included. What cannot have one comes back as it is, with a note. */
export function changeManifest(manifest: Json, change: PodChange): { manifest: Json; notes: Note[] } {
  if (!isObject(manifest)) return { manifest, notes: [note(manifest, 'skipped', 'it is no Kubernetes object')] };
  const { items } = manifest;
  if (textOf(manifest.kind)?.endsWith('List') && isArray(items)) {
    const changed = items.map((item) => changeManifest(item, change));
    return {
      manifest: { ...manifest, items: changed.map((item) => item.manifest) },
      notes: changed.flatMap(({ notes }) => notes),
    };
  }
  const place = placeIn(manifest);
  if (typeof place === 'string') return { manifest, notes: [note(manifest, 'skipped', place)] };
  const { path, layout } = place;
  // Opting out a whole workload on its own label says the same as on its pods'.
  if (consentOf(manifest, POD).consent === 'disabled') {
    return { manifest, notes: [note(manifest, 'skipped', `opted out: ${INJECT_LABEL} is "disabled"`)] };
  }
  const found = getIn(manifest, path);
  const { template, outcome, reasons } = change(isObject(found) ? found : {}, layout);
  const changed = outcome === 'injected' || outcome === 'restored';
  const next = path.length === 0 ? template : setIn(manifest, path, template);
  return { manifest: changed ? next : manifest, notes: [note(manifest, outcome, ...reasons)] };
}

/** Where the pod is, or why there is none to change. */
function placeIn(manifest: JsonObject): PodPlace | string {
  const kind = textOf(manifest.kind) ?? '';
  const apiVersion = textOf(manifest.apiVersion) ?? '';
  const [group = '', version = ''] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion];
  const owner = objectsOf(getIn(manifest, ['metadata', 'ownerReferences'])).find(
    ({ controller }) => controller === true,
  );
  const place = group === 'kagent.dev' && kind === 'Agent' ? agentPlace(manifest, version) : PLACES[`${group}/${kind}`];
  if (place === undefined) return `a ${kind === '' ? 'document without a kind' : kind} has no pod`;
  if (owner !== undefined) return `${owner.kind} "${owner.name}" makes it: inject that instead`;
  return place;
}

function agentPlace(manifest: JsonObject, version: string): PodPlace | string {
  if (version !== 'v1alpha2') return `an Agent of kagent.dev/${version} takes no containers: write it as v1alpha2`;
  const form = getIn(manifest, ['spec', 'type']) === 'BYO' ? 'byo' : 'declarative';
  return { path: ['spec', form], layout: KAGENT };
}

function note(manifest: Json, outcome: Note['outcome'], ...reasons: string[]): Note {
  const kind = textOf(getIn(manifest, ['kind']))?.toLowerCase() ?? 'document';
  const metadata = getIn(manifest, ['metadata']);
  const name = textOf(getIn(metadata, ['name'])) ?? textOf(getIn(metadata, ['generateName'])) ?? '';
  return { object: name === '' ? kind : `${kind}/${name}`, outcome, reasons };
}
