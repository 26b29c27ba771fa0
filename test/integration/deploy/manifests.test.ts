import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { problemsOfManifest, problemsOfPart } from '../../harness/kubernetes-schema.ts';
import { type Manifest, manifestFiles, type Pod, parseDocuments, readDeployFile, readManifest } from './manifests.ts';

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
