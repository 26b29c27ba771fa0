import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import type { Config } from '../../../src/config/config.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { OPTION_NAMES } from '../../../src/kubernetes/options.ts';
import { problemsOfManifest, problemsOfPart } from '../../harness/kubernetes-schema.ts';
import {
  type Container,
  exampleConfigText,
  type Manifest,
  manifestFiles,
  type Pod,
  parseDocuments,
  readDeployFile,
  readManifest,
} from './manifests.ts';

for (const file of manifestFiles()) {
  // kustomize itself checks its own files, in test/external/deploy.
  if (file !== 'kustomization.yaml') {
    test(`deploy/${file} is valid, without unknown fields`, () => {
      for (const manifest of parseDocuments(readDeployFile(file))) assert.deepEqual(problemsOfManifest(manifest), []);
    });
  }

  test(`deploy/${file} means the same in YAML 1.1 and 1.2`, () => {
    const text = readDeployFile(file);
    assert.deepEqual(parseDocuments(text, '1.1'), parseDocuments(text, '1.2'));
  });
}

test('the check refuses an unknown field, an unknown value, a wrong type and an unknown kind', () => {
  const pod = readManifest<Pod>('pod.yaml');
  const monitor = readManifest('podmonitor.yaml');
  const rule = readManifest('prometheusrule.yaml');
  const wrong: Record<string, object> = {
    'unknown field of a pod': { ...pod, spec: { ...pod.spec, restartpolicy: 'Always' } },
    'unknown field of the metadata': { ...pod, metadata: { ...pod.metadata, label: {} } },
    'unknown value': { ...pod, spec: { ...pod.spec, restartPolicy: 'Sometimes' } },
    'wrong type': { ...pod, spec: { ...pod.spec, terminationGracePeriodSeconds: '60s' } },
    'missing field': { ...pod, spec: { volumes: [] } },
    'unknown kind': { ...pod, apiVersion: 'v2' },
    'unknown field of a PodMonitor': { ...monitor, spec: { selector: {}, podMetricsEndpoints: [{ ports: 'x' }] } },
    'unknown field of its metadata': { ...monitor, metadata: { nam: 'x' } },
    'missing field of a PodMonitor': { ...monitor, spec: { podMetricsEndpoints: [] } },
    'unknown field of a PrometheusRule': {
      ...rule,
      spec: { groups: [{ name: 'x', rules: [{ expr: '1', four: '1m' }] }] },
    },
    'wrong duration in a PrometheusRule': {
      ...rule,
      spec: { groups: [{ name: 'x', rules: [{ expr: '1', for: '1.5m' }] }] },
    },
  };
  for (const [what, manifest] of Object.entries(wrong)) assert.notDeepEqual(problemsOfManifest(manifest), [], what);
  assert.notDeepEqual(problemsOfPart('Container', { name: 'cambist', imagePullPolicy: 'Never ever' }), []);
});

/** Manifests with kinds that only some clusters know. */
const FOR_THE_OPERATOR = ['podmonitor.yaml', 'prometheusrule.yaml'];

test('kustomization.yaml names every manifest but those of the Prometheus Operator', () => {
  const { resources } = readManifest<Manifest & { resources: string[] }>('kustomization.yaml');
  const others = manifestFiles().filter((name) => !['kustomization.yaml', ...FOR_THE_OPERATOR].includes(name));
  assert.deepEqual([...resources].sort(), others.sort());
  for (const name of resources) assert.ok(existsSync(new URL(`../../../deploy/${name}`, import.meta.url)), name);
});

test('no manifest is a Secret', () => {
  for (const file of manifestFiles()) {
    for (const manifest of parseDocuments(readDeployFile(file))) assert.notEqual(manifest.kind, 'Secret', file);
  }
});

interface Schema {
  readonly $ref?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
}

const readChartFile = (name: string): string => readDeployFile(`helm/cambist/${name}`);
const [values] = parseDocuments<object>(readChartFile('values.yaml'));
const schema = JSON.parse(readChartFile('values.schema.json')) as Schema & { $defs: Record<string, Schema> };
const packageVersion = (JSON.parse(readFileSync('package.json', 'utf8')) as { version: string }).version;

const resolved = (part: Schema): Schema => schema.$defs[part.$ref?.replace('#/$defs/', '') ?? ''] ?? part;

test('chart and app have the version of the package', () => {
  const [chart] = parseDocuments<{ version: string; appVersion: string }>(readChartFile('Chart.yaml'));
  assert.deepEqual([chart?.version, chart?.appVersion], [packageVersion, packageVersion]);
});

test('the schema of the values contains the config\'s schema: if this fails, run "npm run schema"', () => {
  assert.deepEqual(schema.$defs.config, JSON.parse(readFileSync('config/cambist.schema.json', 'utf8')));
});

test('the schema has every option of an injection except the image, which has its own values', () => {
  const options = Object.keys(resolved(schema.properties?.webhook ?? {}).properties?.injection?.properties ?? {});
  assert.deepEqual(options.sort(), OPTION_NAMES.filter((name) => name !== 'image').sort());
});

test('the default values lack only the image', () => {
  const validate = new Ajv2020({ strict: false, allErrors: true }).compile(schema);
  assert.equal(validate(values), false);
  assert.deepEqual(
    validate.errors?.map(({ instancePath }) => instancePath),
    ['/image/repository'],
  );
});

test('values.yaml and the schema have the same values', () => {
  assertSameKeys(values, schema, '');
});

/** Maps whose keys the user chooses. */
const OPEN = ['/webhook/injection', '/gateway/config', '/gateway/files'];

function assertSameKeys(value: unknown, part: Schema, path: string): void {
  const { properties } = resolved(part);
  if (properties === undefined || typeof value !== 'object' || value === null || OPEN.includes(path)) return;
  // helm defines "global".
  const known = Object.keys(properties).filter((key) => key !== 'global');
  assert.deepEqual(Object.keys(value).sort(), known.sort(), path);
  for (const [key, inner] of Object.entries(value)) assertSameKeys(inner, properties[key] ?? {}, `${path}/${key}`);
}

test('every paragraph of values.yaml has a comment', () => {
  const paragraphs = readChartFile('values.yaml').split(/\n\n/);
  assert.ok(paragraphs.length > 20);
  for (const paragraph of paragraphs) assert.match(paragraph, /^ *# [A-Z"]/m);
});

interface Kustomization extends Manifest {
  readonly configMapGenerator: readonly { readonly name: string; readonly files: readonly string[] }[];
}

const pod = readManifest<Pod>('pod.yaml');
const cambist = only(pod.spec.initContainers);
const agent = only(pod.spec.containers);

function only<T>(list: readonly T[]): T {
  const [one, ...more] = list;
  if (one === undefined || more.length > 0) throw new Error('expected exactly one');
  return one;
}

function exampleConfig(): Config {
  const { config, problems } = parseConfig(exampleConfigText(), 'deploy/cambist.yaml');
  assert.deepEqual(problems, []);
  assert.ok(config);
  return config;
}

function volumeOf(container: Container, mountPath: string): Pod['spec']['volumes'][number] {
  const mount = container.volumeMounts?.find((candidate) => candidate.mountPath === mountPath);
  const volume = pod.spec.volumes.find((candidate) => candidate.name === mount?.name);
  assert.ok(volume, `nothing is mounted at ${mountPath}`);
  return volume;
}

/** Every value of a key `file`, at any depth. */
function namedFiles(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    key === 'file' && typeof inner === 'string' ? [inner] : namedFiles(inner),
  );
}

const split = (file: string): [string, string] => [file.replace(/\/[^/]*$/, ''), file.replace(/^.*\//, '')];

test("the example config is valid, listens on loopback, and serves the kubelet's probes", () => {
  const config = exampleConfig();
  assert.deepEqual(config.listen, { kind: 'tcp', host: '127.0.0.1', port: 8180 });
  assert.equal(config.admin.kind === 'tcp' && config.admin.host, '0.0.0.0');
});

test('cambist is a native sidecar: it starts before the agent and stops after it', () => {
  assert.equal(cambist.restartPolicy, 'Always');
  assert.equal(cambist.startupProbe?.httpGet.path, '/readyz');
});

test('every probe and the PodMonitor name the admin port of the config', () => {
  const { admin } = exampleConfig();
  const port = only(cambist.ports ?? []);
  assert.equal(port.containerPort, admin.kind === 'tcp' ? admin.port : undefined);
  assert.match(port.name, /^[a-z0-9-]{1,15}$/);
  const probes = [cambist.startupProbe, cambist.readinessProbe, cambist.livenessProbe];
  for (const probe of probes) assert.equal(probe?.httpGet.port, port.name);
  assert.equal(cambist.readinessProbe?.httpGet.path, '/readyz');
  assert.equal(cambist.livenessProbe?.httpGet.path, '/livez');
  const monitor = readManifest<Manifest & { spec: { podMetricsEndpoints: { port: string; path: string }[] } }>(
    'podmonitor.yaml',
  );
  assert.deepEqual(
    monitor.spec.podMetricsEndpoints.map(({ port: name, path }) => ({ name, path })),
    [{ name: port.name, path: '/metrics' }],
  );
});

test('CAMBIST_CONFIG is the key of the ConfigMap in the folder where it is mounted', () => {
  const [folder, key] = split(cambist.env?.find(({ name }) => name === 'CAMBIST_CONFIG')?.value ?? '');
  const { configMapGenerator } = readManifest<Kustomization>('kustomization.yaml');
  const { name, files } = only(configMapGenerator);
  assert.equal(volumeOf(cambist, folder).configMap?.name, name);
  assert.deepEqual(files, [key]);
});

test('every file of the config is in a volume of the cambist container', () => {
  const files = namedFiles(parse(exampleConfigText()));
  assert.ok(files.length >= 2);
  for (const file of files) {
    const [folder, name] = split(file);
    const { secret, projected } = volumeOf(cambist, folder);
    const paths = [
      ...(secret?.items.map(({ path }) => path) ?? []),
      ...(projected?.sources.map(({ serviceAccountToken }) => serviceAccountToken.path) ?? []),
    ];
    assert.ok(paths.includes(name), file);
  }
});

test('the projected token is for an authorization server of the config and rotates', () => {
  const issuers = exampleConfig().authorizationServers.map(({ issuer }) => issuer);
  const [source] = volumeOf(cambist, '/var/run/secrets/tokens').projected?.sources ?? [];
  assert.ok(issuers.includes(source?.serviceAccountToken.audience));
  // The API server refuses less than 600.
  assert.ok((source?.serviceAccountToken.expirationSeconds ?? 0) >= 600);
});

test("no volume is mounted by subPath, and the agent mounts none of cambist's", () => {
  for (const mount of cambist.volumeMounts ?? []) assert.equal(mount.subPath, undefined, mount.name);
  assert.deepEqual(agent.volumeMounts ?? [], []);
  assert.equal(pod.spec.automountServiceAccountToken, false);
});

test('the agent calls existing routes', () => {
  const { routes, listen } = exampleConfig();
  const urls = (agent.env ?? []).flatMap(({ name, value }) => (name.endsWith('_URL') && value ? [new URL(value)] : []));
  assert.equal(urls.length, routes.length);
  for (const url of urls) {
    assert.equal(`${url.hostname}:${url.port}`, listen.kind === 'tcp' ? `${listen.host}:${listen.port}` : '');
    const route = routes.find(({ match }) => match.path === url.pathname);
    assert.equal(route?.match.host, url.hostname);
  }
});

test('the pod has more time to stop than cambist needs to drain', () => {
  assert.ok(pod.spec.terminationGracePeriodSeconds * 1000 > exampleConfig().limits.shutdownGraceMs);
});

test('every container meets the restricted Pod Security Standard, on a read-only root', () => {
  assert.equal(pod.spec.securityContext?.seccompProfile?.type, 'RuntimeDefault');
  for (const { name, securityContext, resources } of [cambist, agent]) {
    assert.equal(securityContext?.runAsNonRoot, true, name);
    assert.ok((securityContext?.runAsUser ?? 0) > 0, name);
    assert.equal(securityContext?.readOnlyRootFilesystem, true, name);
    assert.equal(securityContext?.allowPrivilegeEscalation, false, name);
    assert.notEqual(securityContext?.privileged, true, name);
    assert.deepEqual(securityContext?.capabilities, { drop: ['ALL'] }, name);
    assert.ok(resources?.limits?.memory && resources.requests?.cpu, name);
  }
});

test('the pod has the user of the image and the version of the package', () => {
  const root = new URL('../../../', import.meta.url);
  const { version } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { version: string };
  assert.equal(cambist.image.split(':')[1], version);
  const user = readFileSync(new URL('Dockerfile', root), 'utf8').split('\nUSER ').at(-1)?.split(':')[0];
  assert.equal(String(cambist.securityContext?.runAsUser), user);
  assert.equal(pod.spec.serviceAccountName, readManifest('serviceaccount.yaml').metadata.name);
});
