import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';
import { parse } from 'yaml';

type Schema = Record<string, unknown>;

const fixture = (name: string): string => readFileSync(new URL(`../../fixtures/crds/${name}`, import.meta.url), 'utf8');

/** Kubernetes 1.37's own schemas, closed as an API server under strict field validation closes them. */
const kubernetes = closeObjects(JSON.parse(fixture('kubernetes-v1.37.json'))) as Schema;
const podMonitor = closeObjects(customResource(fixture('monitoring.coreos.com_podmonitors.yaml')));
const prometheusRule = closeObjects(customResource(fixture('monitoring.coreos.com_prometheusrules.yaml')));

// Formats such as int32 and patterns in Go's dialect are not JSON Schema's own.
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false, unicodeRegExp: false });
ajv.addSchema({ $id: 'kubernetes', ...kubernetes });

const OBJECT_META = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';

const CHECKS: Readonly<Record<string, ValidateFunction>> = {
  'v1 ConfigMap': ajv.compile(reference('io.k8s.api.core.v1.ConfigMap')),
  'v1 Namespace': ajv.compile(reference('io.k8s.api.core.v1.Namespace')),
  'v1 Pod': ajv.compile(reference('io.k8s.api.core.v1.Pod')),
  'v1 ServiceAccount': ajv.compile(reference('io.k8s.api.core.v1.ServiceAccount')),
  'networking.k8s.io/v1 NetworkPolicy': ajv.compile(reference('io.k8s.api.networking.v1.NetworkPolicy')),
  'monitoring.coreos.com/v1 PodMonitor': ajv.compile({
    allOf: [podMonitor, { properties: { metadata: reference(OBJECT_META) } }],
  }),
  'monitoring.coreos.com/v1 PrometheusRule': ajv.compile({
    allOf: [prometheusRule, { properties: { metadata: reference(OBJECT_META) } }],
  }),
  // kustomize ships no schema: these are the fields that we use.
  'kustomize.config.k8s.io/v1beta1 Kustomization': ajv.compile({
    type: 'object',
    properties: { apiVersion: {}, kind: {}, resources: { type: 'array', items: { type: 'string' } } },
    additionalProperties: false,
  }),
};

/** What an API server would say against a whole manifest; empty where it would take it. */
export function problemsOfManifest(manifest: { apiVersion?: unknown; kind?: unknown }): string[] {
  const kind = `${manifest.apiVersion} ${manifest.kind}`;
  const check = CHECKS[kind];
  return check === undefined ? [`no schema for "${kind}"`] : problems(check, manifest);
}

/** The same for a part of one, by the name of its type in core/v1: `PodSpec`, `Container`. */
export function problemsOfPart(type: string, value: unknown): string[] {
  return problems(ajv.compile(reference(`io.k8s.api.core.v1.${type}`)), value);
}

function problems(check: ValidateFunction, value: unknown): string[] {
  if (check(value)) return [];
  return (check.errors ?? []).map((e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);
}

function reference(name: string): Schema {
  return { $ref: `kubernetes#/components/schemas/${name}` };
}

function customResource(text: string): unknown {
  const definition = parse(text) as { spec: { versions: { name: string; schema: { openAPIV3Schema: unknown } }[] } };
  return definition.spec.versions.find((version) => version.name === 'v1')?.schema.openAPIV3Schema;
}

/** Where a schema lists the fields, no other is taken. */
export function closeObjects(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(closeObjects);
  if (typeof schema !== 'object' || schema === null) return schema;
  const readable = Object.entries(schema).filter(([key, value]) => key !== 'pattern' || !isGoPattern(value));
  const closed: Schema = Object.fromEntries(readable.map(([key, value]) => [key, closeObjects(value)]));
  const listsFields = closed.type === 'object' && typeof closed.properties === 'object';
  const isOpen = 'additionalProperties' in closed || closed['x-kubernetes-preserve-unknown-fields'] === true;
  return listsFields && !isOpen ? { ...closed, additionalProperties: false } : closed;
}

/** One that begins with flags, which no regular expression of JavaScript does. */
function isGoPattern(pattern: unknown): boolean {
  return typeof pattern === 'string' && pattern.startsWith('^(?i)');
}
