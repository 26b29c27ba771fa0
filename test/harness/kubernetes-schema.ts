import { readFileSync } from 'node:fs';
import { Ajv, type ValidateFunction } from 'ajv';
import { parse } from 'yaml';

type Schema = Record<string, unknown>;

interface ApiSchemas {
  readonly components: { readonly schemas: Schema };
}

interface CustomResource {
  readonly spec: {
    readonly versions: readonly { readonly name: string; readonly schema: { openAPIV3Schema: object } }[];
  };
}

export interface KindOfManifest {
  readonly apiVersion?: unknown;
  readonly kind?: unknown;
}

// JSON is also YAML.
const fixture = <T>(name: string): T =>
  parse(readFileSync(new URL(`./fixtures/crds/${name}`, import.meta.url), 'utf8')) as T;

/** The schemas of Kubernetes 1.37, closed as by an API server with strict field validation. */
const schemas = closeObjects({
  ...fixture<ApiSchemas>('kubernetes-v1.37.json').components.schemas,
  ...fixture<ApiSchemas>('kubernetes-workloads-v1.37.json').components.schemas,
});

// JSON Schema knows neither formats such as int32 nor patterns in Go's dialect.
const ajv = new Ajv({ strict: false, allErrors: true, validateFormats: false, unicodeRegExp: false });
ajv.addSchema({ $id: 'kubernetes', components: { schemas } });

const CUSTOM: Readonly<Record<string, string>> = {
  'cert-manager.io/v1 Certificate': 'cert-manager.io_certificates.v1.19.0.json',
  'cert-manager.io/v1 Issuer': 'cert-manager.io_issuers.v1.19.0.json',
  'kagent.dev/v1alpha2 Agent': 'kagent.dev_agents.v0.9.12.json',
  'kagent.dev/v1alpha2 RemoteMCPServer': 'kagent.dev_remotemcpservers.v0.9.12.json',
  'monitoring.coreos.com/v1 PodMonitor': 'monitoring.coreos.com_podmonitors.yaml',
  'monitoring.coreos.com/v1 PrometheusRule': 'monitoring.coreos.com_prometheusrules.yaml',
};

const checks = new Map<string, ValidateFunction>();

/** The problems that an API server with strict field validation finds in a manifest; empty if it accepts the manifest. */
export function problemsOfManifest(manifest: KindOfManifest): string[] {
  const kind = `${manifest.apiVersion} ${manifest.kind}`;
  const schema = schemaOf(kind);
  if (schema === undefined) return [`missing schema for "${kind}"`];
  const check = checks.get(kind) ?? ajv.compile(schema);
  checks.set(kind, check);
  return problems(check, manifest);
}

/** The problems in a part of a manifest, by the name of its type in core/v1: `PodSpec`, `Container`. */
export function problemsOfPart(type: string, value: unknown): string[] {
  return problems(ajv.compile(reference(`io.k8s.api.core.v1.${type}`)), value);
}

function problems(check: ValidateFunction, value: unknown): string[] {
  if (check(value)) return [];
  return (check.errors ?? []).map((e) => `${e.instancePath} ${e.message} ${JSON.stringify(e.params)}`);
}

function schemaOf(kind: string): Schema | undefined {
  const [, group = 'core', version, name] = /^(?:(\w+)(?:\.[\w.]*k8s\.io)?\/)?(\w+) (\w+)$/.exec(kind) ?? [];
  const builtIn = `io.k8s.api.${group}.${version}.${name}`;
  if (builtIn in schemas) return reference(builtIn);
  const custom = CUSTOM[kind];
  if (custom === undefined) return undefined;
  const found = fixture<CustomResource>(custom).spec.versions.find(({ name }) => kind.includes(`/${name} `));
  if (found === undefined) return undefined;
  const metadata = reference('io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta');
  return { allOf: [closeObjects(found.schema.openAPIV3Schema), { properties: { metadata } }] };
}

function reference(name: string): Schema {
  return { $ref: `kubernetes#/components/schemas/${name}` };
}

/** Refuses unknown fields where a schema lists the fields. */
function closeObjects(schema: object): Schema {
  return JSON.parse(JSON.stringify(schema), (key, value) => {
    if (key === 'pattern' && isGoPattern(value)) return undefined;
    const listsFields = value?.type === 'object' && typeof value.properties === 'object';
    const isOpen =
      value?.additionalProperties !== undefined || value?.['x-kubernetes-preserve-unknown-fields'] === true;
    return listsFields && !isOpen ? { ...value, additionalProperties: false } : value;
  });
}

/** A pattern that begins with flags. JavaScript has no such patterns. */
function isGoPattern(pattern: unknown): boolean {
  return typeof pattern === 'string' && pattern.startsWith('^(?i)');
}
