import assert from 'node:assert/strict';
import { parseAllDocuments } from 'yaml';
import type { PatchOperation } from '../../../src/kubernetes/admission.ts';
import { getIn, type Json, type JsonObject, objectsOf } from '../../../src/kubernetes/json.ts';
import { readStream } from '../../../src/kubernetes/manifest-stream.ts';
import type { RawOptions } from '../../../src/kubernetes/options.ts';
import { type Injection, type InjectionRequest, injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { POD } from '../../../src/kubernetes/pod-layout.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { changeManifest, type Note } from '../../../src/kubernetes/workloads.ts';

export const IMAGE = 'registry.example.com/cambist:0.1.0';

/** A pod with one container, "agent", and the given fields of spec and metadata. */
export function pod(spec: JsonObject = {}, metadata: JsonObject = {}): JsonObject {
  const containers = [{ name: 'agent', image: 'agent:1' }];
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'agent', ...metadata }, spec: { containers, ...spec } };
}

export function request(more: Partial<InjectionRequest> = {}): InjectionRequest {
  return { flags: { image: IMAGE }, layout: POD, version: '0.1.0', optIn: false, update: true, ...more };
}

/** Injects with flags, as the command `inject` does. */
export function inject(template: JsonObject, flags: RawOptions = {}): Injection {
  return injectPod(template, request({ flags: { image: IMAGE, ...flags } }));
}

/** Injects into the pods of a stream, as the command does. */
export function injectText(text: string, flags: RawOptions = {}): { text: string; notes: Note[] } {
  const injection = request({ flags: { image: IMAGE, ...flags } });
  return readStream(text, 'f.yaml').change((manifest) =>
    changeManifest(manifest, (template, layout) => injectPod(template, { ...injection, layout })),
  );
}

/** Removes the injections of a stream, as the command does. */
export function restoreText(text: string): string {
  return readStream(text, 'f.yaml').change((manifest) => changeManifest(manifest, uninjectPod)).text;
}

/** The review of the creation of a pod. @param more fields of the request */
export function reviewOf(object: Json, more: JsonObject = {}): JsonObject {
  const kind = { group: '', version: 'v1', kind: 'Pod' };
  const request = { uid: 'u-1', kind, operation: 'CREATE', namespace: 'agents', object, oldObject: null, ...more };
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request };
}

/** Are both streams the same manifests for readers of YAML 1.1, as kubectl, and of YAML 1.2? */
export function assertSameManifests(actual: string, expected: string, message?: string): void {
  for (const version of ['1.1', '1.2'] as const) {
    const [left, right] = [actual, expected].map((text) =>
      parseAllDocuments(text, { version, merge: true, logLevel: 'error' }).flatMap(
        (document) => document.toJS({ maxAliasCount: 1000 }) ?? [],
      ),
    );
    assert.deepEqual(left, right, message);
  }
}

export function container(template: JsonObject, name = 'cambist'): JsonObject | undefined {
  const lists = ['initContainers', 'containers'].map((list) => getIn(template, ['spec', list]));
  return lists.flatMap(objectsOf).find((candidate) => candidate.name === name);
}

export function environment(template: JsonObject, name: string): Record<string, unknown> {
  const variables = objectsOf(container(template, name)?.env);
  return Object.fromEntries(variables.map((variable) => [String(variable.name), variable.value]));
}

/** The names in a list of the spec; undefined if there is no list. */
export function namesIn(template: JsonObject, list: string): unknown[] | undefined {
  const items = getIn(template, ['spec', list]);
  return items === undefined ? undefined : objectsOf(items).map(({ name }) => name);
}

/** Applies a JSON Patch as strictly as the API server: a missing parent is an error. */
export function applyPatch(document: Json, patch: readonly PatchOperation[]): Json {
  // A copy through JSON contains no array twice; a structured clone can. Its parent makes it replaceable.
  const root = { '': JSON.parse(JSON.stringify(document)) as Json };
  for (const operation of patch) {
    const path = operation.path.split('/').map((one) => one.replaceAll('~1', '/').replaceAll('~0', '~'));
    applyTo(path.slice(0, -1).reduce<unknown>(step, root), path.at(-1) ?? '', operation);
  }
  return root[''];
}

function step(parent: unknown, key: string): unknown {
  if (typeof parent !== 'object' || parent === null || !Object.hasOwn(parent, key))
    throw new Error(`no parent "${key}"`);
  return (parent as Record<string, unknown>)[key];
}

function applyTo(parent: unknown, key: string, operation: PatchOperation): void {
  const mustExist = operation.op !== 'add';
  if (Array.isArray(parent)) {
    const index = key === '-' ? parent.length : Number(key);
    const limit = mustExist ? parent.length - 1 : parent.length;
    if (!(/^(?:-|0|[1-9]\d*)$/.test(key) && index <= limit)) throw new Error(`no index "${key}"`);
    if (operation.op === 'remove') parent.splice(index, 1);
    else parent.splice(index, mustExist ? 1 : 0, structuredClone(operation.value));
    return;
  }
  if (typeof parent !== 'object' || parent === null) throw new Error('the parent is not a collection');
  if (mustExist && !Object.hasOwn(parent, key)) throw new Error(`nothing at "${key}"`);
  if (operation.op === 'remove') Reflect.deleteProperty(parent, key);
  else Object.defineProperty(parent, key, { value: structuredClone(operation.value), ...ORDINARY });
}

/** Treats a key such as `__proto__` like any other. */
const ORDINARY = { enumerable: true, configurable: true, writable: true };

const UNTOUCHED = `# a ConfigMap
apiVersion: v1
kind: ConfigMap
metadata: {name:   x}   # odd   white space
data:
   a:   "b"
   c: |
     --- not a document
`;

export const DEPLOYMENT = `# the agent
apiVersion: apps/v1
kind: Deployment
metadata:
  name: agent # its name
# the workload
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata:
      labels: { app: agent }
    spec:
      # models are loaded first
      initContainers:
      # loads the model
      - name: loader
        image: 'loader:1'

      containers:
      - name: agent
        image: "agent:1"
        args: [ "--mode", 0644, 1e3, 0x1F, yes, 2026-01-01, 12345678901234567890 ]
        # the end of the agent
`;

export const STREAM = `${UNTOUCHED}---
${DEPLOYMENT}---
# an empty document
---
kind: Service
apiVersion: v1
spec: {}
...
`;
