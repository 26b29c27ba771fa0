import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import type { Config } from '../../../src/config/config.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { type Json, type JsonObject, type Path, setIn } from '../../../src/kubernetes/json.ts';
import { OPTION_NAMES } from '../../../src/kubernetes/options.ts';
import type { Deployment, Pod } from '../../external/cluster/objects.ts';
import { problemsOfManifest, problemsOfPart } from '../../harness/kubernetes-schema.ts';
import {
  exampleConfigText,
  type Kustomization,
  type Manifest,
  manifestFiles,
  parseDocuments,
  readDeployFile,
  readManifest,
} from './manifests.ts';

const pod = readManifest<Manifest & Pod>('pod.yaml');
const cambist = only(pod.spec.initContainers ?? []);
const agent = only(pod.spec.containers);
const webhook = readManifest<Manifest & Deployment>('webhook/base/deployment.yaml').spec;
const webhookContainer = only(webhook.template.spec.containers);

const FOLDERS = ['', 'webhook/base/', 'webhook/cert-manager/'];
const FILES = FOLDERS.flatMap(manifestFiles);

for (const file of FILES) {
  test(`deploy/${file} is valid, has no Secret, and means the same in YAML 1.1 and 1.2`, () => {
    const manifests = parseDocuments(readDeployFile(file));
    assert.deepEqual(manifests, parseDocuments(readDeployFile(file), '1.2'));
    for (const manifest of manifests) {
      // kustomize itself checks its own files and the patch, in test/external/deploy.
      if (!/kustomization|inject-ca/.test(file)) assert.deepEqual(problemsOfManifest(manifest), []);
      assert.notEqual(manifest.kind, 'Secret');
    }
  });
}

const read = (file: string): JsonObject => parseDocuments<JsonObject>(readDeployFile(file))[0] ?? {};
const [POD, MONITOR, RULE] = [read('pod.yaml'), read('podmonitor.yaml'), read('prometheusrule.yaml')];
const FIRST_RULE = ['spec', 'groups', 0, 'rules', 0];

const WRONG: readonly (readonly [what: string, manifest: JsonObject, path: Path, value: Json])[] = [
  ['unknown field of a pod', POD, ['spec', 'restartpolicy'], 'Always'],
  ['unknown field of the metadata', POD, ['metadata', 'label'], {}],
  ['unknown value', POD, ['spec', 'restartPolicy'], 'Sometimes'],
  ['wrong type', POD, ['spec', 'terminationGracePeriodSeconds'], '60s'],
  ['missing field', POD, ['spec'], { volumes: [] }],
  ['unknown kind', POD, ['apiVersion'], 'v2'],
  ['unknown field of a PodMonitor', MONITOR, ['spec', 'podMetricsEndpoints', 0, 'ports'], 'x'],
  ['unknown field of its metadata', MONITOR, ['metadata', 'nam'], 'x'],
  ['missing field of a PodMonitor', MONITOR, ['spec'], { podMetricsEndpoints: [] }],
  ['unknown field of a PrometheusRule', RULE, [...FIRST_RULE, 'four'], '1m'],
  ['wrong duration in a PrometheusRule', RULE, [...FIRST_RULE, 'for'], '1.5m'],
];

test('the check refuses an unknown field, an unknown value, a wrong type and an unknown kind', () => {
  for (const [what, manifest, path, value] of WRONG) {
    assert.notDeepEqual(problemsOfManifest(setIn(manifest, path, value)), [], what);
  }
  assert.notDeepEqual(problemsOfPart('Container', { name: 'cambist', imagePullPolicy: 'Never ever' }), []);
});

/** Manifests with kinds that only some clusters know. */
const FOR_THE_OPERATOR = ['podmonitor.yaml', 'prometheusrule.yaml'];

test('each kustomization names every manifest in its folder, but those of the Prometheus Operator', () => {
  for (const folder of FOLDERS) {
    const { resources, patches = [] } = readManifest<Kustomization>(`${folder}kustomization.yaml`);
    const named = [...resources, ...patches.map(({ path }) => path)].filter((name) => name !== '../base');
    const others = manifestFiles(folder).map((file) => file.slice(folder.length));
    const expected = others.filter((name) => !['kustomization.yaml', ...FOR_THE_OPERATOR].includes(name));
    assert.deepEqual(named.sort(), expected.sort());
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

test('the agent starts when cambist is ready, and a server that is down restarts no container', () => {
  const { startupProbe, readinessProbe, livenessProbe } = cambist;
  const paths = [startupProbe, readinessProbe, livenessProbe].map((probe) => probe?.httpGet.path);
  assert.deepEqual(paths, ['/readyz', '/readyz', '/livez']);
});

test("no volume is mounted by subPath, and the agent mounts none of cambist's", () => {
  for (const mount of [...(cambist.volumeMounts ?? []), ...(webhookContainer.volumeMounts ?? [])]) {
    assert.equal(mount.subPath, undefined, mount.name);
  }
  assert.deepEqual(agent.volumeMounts ?? [], []);
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
  assert.ok(Number(pod.spec.terminationGracePeriodSeconds) * 1000 > exampleConfig().limits.shutdownGraceMs);
});

test('every container meets the restricted Pod Security Standard, on a read-only root, without an API token', () => {
  for (const { securityContext, automountServiceAccountToken } of [pod.spec, webhook.template.spec]) {
    assert.equal(securityContext?.seccompProfile?.type, 'RuntimeDefault');
    assert.equal(automountServiceAccountToken, false);
  }
  for (const { name, securityContext, resources } of [cambist, agent, webhookContainer]) {
    assert.equal(securityContext?.runAsNonRoot, true, name);
    assert.ok((securityContext?.runAsUser ?? 0) > 0, name);
    assert.equal(securityContext?.readOnlyRootFilesystem, true, name);
    assert.equal(securityContext?.allowPrivilegeEscalation, false, name);
    assert.notEqual(securityContext?.privileged, true, name);
    assert.deepEqual(securityContext?.capabilities, { drop: ['ALL'] }, name);
    assert.ok(resources?.limits?.memory && resources.requests?.cpu, name);
  }
});

test('the pods have the user of the image and the version of the package', () => {
  for (const { image, securityContext } of [cambist, webhookContainer]) {
    assert.equal(image.split(':')[1], packageVersion);
    const user = readFileSync('Dockerfile', 'utf8').split('\nUSER ').at(-1)?.split(':')[0];
    assert.equal(String(securityContext?.runAsUser), user);
  }
  assert.ok(webhookContainer.args?.includes(`--image=${webhookContainer.image}`));
});

test('the webhook fails closed, decides dry runs as well, and its namespace enforces the restricted standard', () => {
  const [{ webhooks = [] } = {}] = parseDocuments<{ webhooks?: JsonObject[] }>(
    readDeployFile('webhook/base/mutatingwebhook.yaml'),
  );
  const policies = webhooks.map(({ failurePolicy, sideEffects, timeoutSeconds }) => [
    failurePolicy,
    sideEffects,
    timeoutSeconds,
  ]);
  assert.deepEqual(policies, [['Fail', 'None', 5]]);
  assert.match(readDeployFile('webhook/base/namespace.yaml'), /pod-security\.kubernetes\.io\/enforce: restricted$/m);
});

test('a drain keeps one of two pods of the webhook, and a rollout keeps both', () => {
  const { spec } = readManifest<Manifest & { spec: object }>('webhook/base/poddisruptionbudget.yaml');
  assert.deepEqual(spec, { minAvailable: 1, selector: webhook.selector });
  assert.deepEqual([webhook.replicas, webhook.strategy?.rollingUpdate?.maxUnavailable], [2, 0]);
});
