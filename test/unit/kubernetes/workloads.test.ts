import assert from 'node:assert/strict';
import { test } from 'node:test';
import { getIn, type Json, type JsonObject, type Path, setIn } from '../../../src/kubernetes/json.ts';
import { injectPod } from '../../../src/kubernetes/pod-injection.ts';
import { uninjectPod } from '../../../src/kubernetes/pod-restoration.ts';
import { changeManifest } from '../../../src/kubernetes/workloads.ts';
import { problemsOfManifest } from '../../harness/kubernetes-schema.ts';
import { request } from './samples.ts';

const OPTIONS = {
  image: 'r/cambist:1',
  secret: 's',
  'token-audience': 'https://idp.example.com',
  'proxy-env': 'enabled',
};

const POD_SPEC = { containers: [{ name: 'agent', image: 'agent:1' }] };
const LABELS = { app: 'agent' };
const TEMPLATE = { metadata: { labels: LABELS }, spec: POD_SPEC };
const SELECTOR = { matchLabels: LABELS };
const COMPLETING = { ...TEMPLATE, spec: { ...POD_SPEC, restartPolicy: 'Never' } };

interface Sample {
  readonly manifest: JsonObject;
  /** The expected path of the sidecar. */
  readonly sidecar: Path;
}

const sample = (apiVersion: string, kind: string, spec: JsonObject, sidecar: Path): Sample => ({
  manifest: { apiVersion, kind, metadata: { name: 'agent' }, spec },
  sidecar,
});

const IN_TEMPLATE: Path = ['spec', 'template', 'spec', 'initContainers', 0];
const permanent = (kind: string, keys: JsonObject = {}) =>
  sample('apps/v1', kind, { selector: SELECTOR, template: TEMPLATE, ...keys }, IN_TEMPLATE);
const agentOf = (type: string, key: string, keys: JsonObject) =>
  sample('kagent.dev/v1alpha2', 'Agent', { type, [key]: keys }, ['spec', key, 'deployment', 'extraContainers', 0]);
const CRON = { schedule: '@daily', jobTemplate: { spec: { template: COMPLETING } } };

const SAMPLES: Readonly<Record<string, Sample>> = {
  Pod: sample('v1', 'Pod', POD_SPEC, ['spec', 'initContainers', 0]),
  Deployment: permanent('Deployment'),
  StatefulSet: permanent('StatefulSet', { serviceName: 's' }),
  DaemonSet: permanent('DaemonSet'),
  ReplicaSet: permanent('ReplicaSet'),
  Job: sample('batch/v1', 'Job', { template: COMPLETING }, IN_TEMPLATE),
  CronJob: sample('batch/v1', 'CronJob', CRON, ['spec', 'jobTemplate', ...IN_TEMPLATE]),
  'declarative Agent': agentOf('Declarative', 'declarative', { modelConfig: 'm', deployment: { replicas: 1 } }),
  'Agent without a deployment': agentOf('Declarative', 'declarative', { modelConfig: 'm' }),
  'BYO Agent': agentOf('BYO', 'byo', { deployment: { image: 'i' } }),
};

const inject = (manifest: Json) =>
  changeManifest(manifest, (template, layout) => injectPod(template, request({ flags: OPTIONS, layout })));

for (const [what, { manifest, sidecar }] of Object.entries(SAMPLES)) {
  test(`injects a ${what}, so that the API server accepts it, and restores it`, () => {
    assert.deepEqual(problemsOfManifest(manifest), [], 'before');
    const injected = inject(manifest).manifest as JsonObject;
    assert.equal(getIn(injected, [...sidecar, 'name']), 'cambist');
    assert.deepEqual(problemsOfManifest(injected), []);
    assert.deepEqual(inject(injected).notes[0]?.outcome, 'unchanged');
    assert.deepEqual(changeManifest(injected, uninjectPod).manifest, manifest);
  });
}

test('returns an object without a pod unchanged, with a note', () => {
  const owner = { kind: 'Deployment', name: 'agent', controller: true };
  const cases: [Json, string][] = [
    [{ apiVersion: 'v1', kind: 'Service', metadata: { name: 's' } }, 'service/s: a Service has no pod'],
    [{ apiVersion: 'example.com/v1', kind: 'Deployment' }, 'deployment: a Deployment has no pod'],
    [{ a: 1 }, 'document: a document without a kind has no pod'],
    ['text', 'document: not a Kubernetes object'],
    [
      { apiVersion: 'kagent.dev/v1alpha1', kind: 'Agent' },
      'agent: an Agent of kagent.dev/v1alpha1 has no field for containers: use v1alpha2',
    ],
    [
      { apiVersion: 'v1', kind: 'Pod', metadata: { generateName: 'p-', ownerReferences: [owner] } },
      'pod/p-: created by Deployment "agent": inject the Deployment instead',
    ],
  ];
  for (const [manifest, wanted] of cases) {
    const { manifest: same, notes } = inject(manifest);
    assert.equal(same, manifest);
    const told = notes.map(({ object, outcome, reasons }) => `${outcome} ${object}: ${reasons.join()}`);
    assert.deepEqual(told, [`skipped ${wanted}`]);
  }
});

test('a workload opts out by its own label, or by that of its pod', () => {
  const { manifest } = SAMPLES.Deployment as Sample;
  for (const labels of [
    ['metadata', 'labels'],
    ['spec', 'template', 'metadata', 'labels'],
  ]) {
    const out = setIn(manifest, [...labels, 'cambist.dev/inject'], 'disabled');
    assert.deepEqual(inject(out).notes[0]?.outcome, 'skipped', labels.join('.'));
  }
});

test('changes the items of nested Lists, and of a list of one kind', () => {
  const { manifest } = SAMPLES.Pod as Sample;
  const list = { kind: 'List', apiVersion: 'v1', items: [{ kind: 'PodList', items: [manifest] }, manifest] };
  const outcomes = inject(list).notes.map(({ outcome }) => outcome);
  assert.deepEqual(outcomes, ['injected', 'injected']);
});
