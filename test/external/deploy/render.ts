import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { getIn, isArray, isObject, type Json, type JsonObject } from '../../../src/kubernetes/json.ts';
import type { CommandResult } from '../../harness/run-command.ts';
import { parseDocuments } from '../../integration/deploy/manifests.ts';
import { CHART, type DeployTools } from './tools.ts';

export interface Rendered {
  readonly text: string;
  readonly manifests: readonly JsonObject[];
}

/** Runs a helm command on the chart, with the values in a file. */
export async function withValues(tools: DeployTools, values: object, ...args: string[]): Promise<CommandResult> {
  const folder = await mkdtemp(join(tmpdir(), 'cambist-values-'));
  try {
    const file = join(folder, 'values.yaml');
    await writeFile(file, JSON.stringify(values));
    return await tools.helm(...args, '--values', file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The manifests that `helm install` would apply. */
export async function renderChart(
  tools: DeployTools,
  values: object,
  { release = 'cambist', namespace = 'cambist-system', chart = CHART } = {},
): Promise<Rendered> {
  return rendered(await withValues(tools, values, 'template', release, chart, '--namespace', namespace));
}

/** The manifests that `kubectl apply -k deploy/…` would apply. */
export async function renderKustomization(tools: DeployTools, folder: string): Promise<Rendered> {
  return rendered(await tools.kustomize('build', fileURLToPath(new URL(`../../../deploy/${folder}`, import.meta.url))));
}

function rendered({ code, stdout, stderr }: CommandResult): Rendered {
  assert.equal(code, 0, stderr);
  return { text: stdout, manifests: parseDocuments<JsonObject>(stdout) };
}

/** The only manifest of a kind. */
export function only({ manifests }: Rendered, kind: string, name?: string): JsonObject {
  const found = manifests.filter((one) => one.kind === kind && (name ?? nameOf(one)) === nameOf(one));
  const [first] = found;
  if (first === undefined || found.length > 1)
    throw new Error(`expected one manifest of kind ${kind}, found ${found.length}`);
  return first;
}

export const nameOf = (manifest: JsonObject): string => String(getIn(manifest, ['metadata', 'name']));

/** Labels that helm adds to identify a release. kustomize adds none. */
const HELM_LABELS: readonly string[] = [
  'app.kubernetes.io/instance',
  'app.kubernetes.io/managed-by',
  'app.kubernetes.io/version',
  'helm.sh/chart',
];

/** All manifests by kind and name, without helm's labels. */
export function byName({ manifests }: Rendered): Record<string, Json> {
  return Object.fromEntries(manifests.map((one) => [`${one.kind} ${nameOf(one)}`, withoutHelmLabels(one)]));
}

function withoutHelmLabels(value: Json): Json {
  if (isArray(value)) return value.map(withoutHelmLabels);
  if (!isObject(value)) return value;
  const kept = Object.entries(value).filter(([key]) => !HELM_LABELS.includes(key));
  return Object.fromEntries(kept.map(([key, inner]) => [key, withoutHelmLabels(inner)]));
}
