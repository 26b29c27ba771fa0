import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'yaml';
import type { Config } from '../../../src/config/config.ts';
import { parseConfig } from '../../../src/config/load.ts';
import { type Container, exampleConfigText, type Manifest, type Pod, readManifest } from './manifests.ts';

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
