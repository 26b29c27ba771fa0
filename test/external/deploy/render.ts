import assert from 'node:assert/strict';
import { join } from 'node:path';
import { getIn, isArray, isObject, type Json, type JsonObject } from '../../../src/kubernetes/json.ts';
import { problemsOfManifest } from '../../harness/kubernetes-schema.ts';
import { type CommandResult, runProgram } from '../../harness/run-command.ts';
import { parseDocuments } from '../../integration/deploy/manifests.ts';
import { installDeployTools } from '../installs.ts';

const bin = await installDeployTools();
export const helm = (...args: string[]) => runProgram(join(bin, 'helm'), args);
export const kustomize = (...args: string[]) => runProgram(join(bin, 'kustomize'), args);

export const CHART = join(import.meta.dirname, '../../../deploy/helm/cambist');

export interface Rendered {
  readonly text: string;
  readonly manifests: readonly JsonObject[];
}

export function withValues(values: object, ...args: string[]): Promise<CommandResult> {
  return runProgram(join(bin, 'helm'), [...args, '--values', '-'], { input: JSON.stringify(values) });
}

export async function renderChart(
  values: object,
  { release = 'cambist', namespace = 'cambist-system', chart = CHART } = {},
): Promise<Rendered> {
  return rendered(await withValues(values, 'template', release, chart, '--namespace', namespace));
}

export async function renderKustomization(folder: string): Promise<Rendered> {
  return rendered(await kustomize('build', `deploy/${folder}`));
}

/** The output of a command that succeeded. Every manifest in it is valid, without unknown fields. */
export function rendered({ code, stdout, stderr }: CommandResult): Rendered {
  assert.equal(code, 0, stderr);
  const manifests = parseDocuments<JsonObject>(stdout);
  for (const manifest of manifests) assert.deepEqual(problemsOfManifest(manifest), [], nameOf(manifest));
  return { text: stdout, manifests };
}

export function only({ manifests }: Rendered, kind: string, name?: string): JsonObject {
  const found = manifests.filter((one) => one.kind === kind && (name ?? nameOf(one)) === nameOf(one));
  const [first] = found;
  if (first === undefined || found.length > 1)
    throw new Error(`expected one manifest of kind ${kind}, found ${found.length}`);
  return first;
}

/** The pods of the only Deployment, or of that with this name. */
export const podSpec = (rendered: Rendered, name?: string): JsonObject =>
  getIn(only(rendered, 'Deployment', name), ['spec', 'template', 'spec']) as JsonObject;

/** The text of the config. */
export const configOf = (rendered: Rendered): string =>
  String(getIn(only(rendered, 'ConfigMap'), ['data', 'cambist.yaml']));

export const nameOf = (manifest: JsonObject): string => String(getIn(manifest, ['metadata', 'name']));

/** Labels that helm adds to identify a release. kustomize adds none. */
const HELM_LABELS: readonly string[] = [
  'app.kubernetes.io/instance',
  'app.kubernetes.io/managed-by',
  'app.kubernetes.io/version',
  'helm.sh/chart',
];

export function byName({ manifests }: Rendered): Record<string, Json> {
  return Object.fromEntries(manifests.map((one) => [`${one.kind} ${nameOf(one)}`, withoutHelmLabels(one)]));
}

function withoutHelmLabels(value: Json): Json {
  if (isArray(value)) return value.map(withoutHelmLabels);
  if (!isObject(value)) return value;
  const kept = Object.entries(value).filter(([key]) => !HELM_LABELS.includes(key));
  return Object.fromEntries(kept.map(([key, inner]) => [key, withoutHelmLabels(inner)]));
}
