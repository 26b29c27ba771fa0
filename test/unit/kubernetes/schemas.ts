import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';
import { closeObjects } from '../deploy/kubernetes-schema.ts';

interface ApiSchemas {
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

interface CustomResource {
  readonly spec: {
    readonly versions: readonly { readonly name: string; readonly schema: { openAPIV3Schema: object } }[];
  };
}

function fixture<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../fixtures/crds/${name}`, import.meta.url), 'utf8')) as T;
}

const schemas = {
  ...fixture<ApiSchemas>('kubernetes-v1.37.json').components.schemas,
  ...fixture<ApiSchemas>('kubernetes-workloads-v1.37.json').components.schemas,
};

// Formats such as int32 and patterns in Go's dialect are not JSON Schema's own.
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false, unicodeRegExp: false });
ajv.addSchema({ $id: 'kubernetes', ...(closeObjects({ components: { schemas } }) as object) });

const BUILT_IN: Readonly<Record<string, string>> = {
  'v1 Namespace': 'io.k8s.api.core.v1.Namespace',
  'v1 Pod': 'io.k8s.api.core.v1.Pod',
  'v1 Secret': 'io.k8s.api.core.v1.Secret',
  'v1 Service': 'io.k8s.api.core.v1.Service',
  'v1 ServiceAccount': 'io.k8s.api.core.v1.ServiceAccount',
  'apps/v1 Deployment': 'io.k8s.api.apps.v1.Deployment',
  'apps/v1 StatefulSet': 'io.k8s.api.apps.v1.StatefulSet',
  'apps/v1 DaemonSet': 'io.k8s.api.apps.v1.DaemonSet',
  'apps/v1 ReplicaSet': 'io.k8s.api.apps.v1.ReplicaSet',
  'batch/v1 Job': 'io.k8s.api.batch.v1.Job',
  'batch/v1 CronJob': 'io.k8s.api.batch.v1.CronJob',
  'policy/v1 PodDisruptionBudget': 'io.k8s.api.policy.v1.PodDisruptionBudget',
  'admissionregistration.k8s.io/v1 MutatingWebhookConfiguration':
    'io.k8s.api.admissionregistration.v1.MutatingWebhookConfiguration',
};

const CUSTOM: Readonly<Record<string, string>> = {
  'kagent.dev/v1alpha2 Agent': 'kagent.dev_agents.v0.9.12.json',
  'kagent.dev/v1alpha2 RemoteMCPServer': 'kagent.dev_remotemcpservers.v0.9.12.json',
  'cert-manager.io/v1 Certificate': 'cert-manager.io_certificates.v1.19.0.json',
  'cert-manager.io/v1 Issuer': 'cert-manager.io_issuers.v1.19.0.json',
};

const checks = new Map<string, ValidateFunction>();

/** What an API server would say against a manifest, unknown fields refused; empty where it would take it. */
export function problemsOf(manifest: { apiVersion?: unknown; kind?: unknown }): string[] {
  const kind = `${manifest.apiVersion} ${manifest.kind}`;
  const check = checks.get(kind) ?? compile(kind);
  checks.set(kind, check);
  if (check(manifest)) return [];
  return (check.errors ?? []).map((e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);
}

function compile(kind: string): ValidateFunction {
  const metadata = { $ref: 'kubernetes#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta' };
  const builtIn = BUILT_IN[kind];
  if (builtIn !== undefined) return ajv.compile({ $ref: `kubernetes#/components/schemas/${builtIn}` });
  const custom = CUSTOM[kind];
  if (custom === undefined) throw new Error(`no schema for "${kind}"`);
  const [, version = ''] = kind.split(' ')[0]?.split('/') ?? [];
  const schema = fixture<CustomResource>(custom).spec.versions.find(({ name }) => name === version)?.schema;
  return ajv.compile({ allOf: [closeObjects(schema?.openAPIV3Schema) as object, { properties: { metadata } }] });
}
