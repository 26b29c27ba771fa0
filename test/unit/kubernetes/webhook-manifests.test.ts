import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parseArgs } from 'node:util';
import { getIn, type JsonObject, objectsOf } from '../../../src/kubernetes/json.ts';
import { INJECTION_FLAGS, optionsFromFlags } from '../../../src/kubernetes/option-sources.ts';
import { parseOptions } from '../../../src/kubernetes/options.ts';
import { problemsOfManifest } from '../../harness/kubernetes-schema.ts';
import { parseDocuments } from '../../integration/deploy/manifests.ts';
import { RESTRICTED } from './samples.ts';

const folder = new URL('../../../deploy/webhook/', import.meta.url);
const FILES = ['base', 'cert-manager'].flatMap((name) =>
  readdirSync(new URL(`${name}/`, folder)).map((file) => `${name}/${file}`),
);
const read = (file: string): string => readFileSync(new URL(file, folder), 'utf8');
const manifests = (file: string) => parseDocuments<JsonObject>(read(file));

function manifest(kind: string): JsonObject {
  const found = FILES.filter((file) => file.startsWith('base/'))
    .flatMap(manifests)
    .find((one) => one.kind === kind);
  if (found === undefined) throw new Error(`missing ${kind}`);
  return found;
}

const deployment = manifest('Deployment');
const podSpec = getIn(deployment, ['spec', 'template', 'spec']) as JsonObject;
const [container = {}] = objectsOf(podSpec.containers);
const [webhook = {}] = objectsOf(manifest('MutatingWebhookConfiguration').webhooks);
const service = manifest('Service');

for (const file of FILES.filter((name) => !/kustomization|inject-ca/.test(name))) {
  test(`deploy/webhook/${file} is valid, without unknown fields`, () => {
    for (const one of manifests(file)) assert.deepEqual(problemsOfManifest(one), []);
    assert.deepEqual(parseDocuments(read(file), '1.1'), parseDocuments(read(file), '1.2'));
  });
}

test('each kustomization names every file in its folder, and no other', () => {
  for (const name of ['base', 'cert-manager']) {
    const [{ resources, patches } = {}] = manifests(`${name}/kustomization.yaml`);
    const entries = [...(resources as string[]), ...objectsOf(patches).map(({ path }) => path)];
    const named = entries.filter((entry) => entry !== '../base');
    const present = readdirSync(new URL(`${name}/`, folder)).filter((file) => file !== 'kustomization.yaml');
    assert.deepEqual(named.sort(), present.sort());
  }
});

test('the webhook is called for pods with the label, except in kube-system and its own namespace', () => {
  const labels = [
    { key: 'cambist.dev/inject', operator: 'Exists' },
    { key: 'cambist.dev/inject', operator: 'NotIn', values: ['disabled'] },
  ];
  assert.deepEqual(webhook.objectSelector, { matchExpressions: labels });
  const namespaces = [
    { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['kube-system', 'cambist-system'] },
  ];
  assert.deepEqual(webhook.namespaceSelector, { matchExpressions: namespaces });
  assert.equal(getIn(deployment, ['metadata', 'namespace']), 'cambist-system');
  assert.deepEqual(getIn(webhook, ['rules', 0, 'operations']), ['CREATE']);
  assert.deepEqual(getIn(webhook, ['rules', 0, 'resources']), ['pods']);
});

test('no pod that opted in is created while the webhook is down, and calls have no side effects', () => {
  assert.equal(webhook.failurePolicy, 'Fail');
  assert.equal(webhook.reinvocationPolicy, 'IfNeeded');
  assert.equal(webhook.sideEffects, 'None');
  assert.equal(webhook.timeoutSeconds, 5);
  assert.deepEqual(webhook.admissionReviewVersions, ['v1']);
});

test('the configuration calls the Service, which leads to the port that the pods listen on', () => {
  const called = getIn(webhook, ['clientConfig', 'service']) as JsonObject;
  assert.deepEqual(
    { name: called.name, namespace: called.namespace },
    { name: getIn(service, ['metadata', 'name']), namespace: getIn(service, ['metadata', 'namespace']) },
  );
  assert.equal(called.path, '/mutate');
  assert.equal(called.port, getIn(service, ['spec', 'ports', 0, 'port']));
  assert.deepEqual(getIn(service, ['spec', 'selector']), getIn(deployment, ['spec', 'template', 'metadata', 'labels']));
  const ports = Object.fromEntries(objectsOf(container.ports).map((port) => [port.name, port.containerPort]));
  assert.deepEqual(ports, { https: 8443, 'cambist-admin': 9180 });
  assert.equal(getIn(service, ['spec', 'ports', 0, 'targetPort']), 'https');
});

test('runs two pods, keeps one during a drain, and replaces a pod before it stops', () => {
  assert.equal(getIn(deployment, ['spec', 'replicas']), 2);
  assert.equal(getIn(deployment, ['spec', 'strategy', 'rollingUpdate', 'maxUnavailable']), 0);
  assert.equal(getIn(manifest('PodDisruptionBudget'), ['spec', 'minAvailable']), 1);
  const selector = getIn(manifest('PodDisruptionBudget'), ['spec', 'selector', 'matchLabels']);
  assert.deepEqual(selector, getIn(deployment, ['spec', 'selector', 'matchLabels']));
});

test('the arguments are valid, and name the files of the mounted certificate', () => {
  const [command, ...args] = container.args as string[];
  assert.equal(command, 'webhook');
  const options = { ...INJECTION_FLAGS, cert: { type: 'string' }, key: { type: 'string' } } as const;
  const { values } = parseArgs({ args, options });
  assert.equal(parseOptions(optionsFromFlags(values)).image, container.image);
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  assert.equal(String(container.image).split(':')[1], version);
  const [mount] = objectsOf(container.volumeMounts);
  const items = objectsOf(getIn(podSpec, ['volumes', 0, 'secret', 'items'])).map(
    ({ path }) => `${mount?.mountPath}/${path}`,
  );
  assert.deepEqual([values.cert, values.key], items);
  assert.equal(mount?.subPath, undefined);
});

test('the webhook meets the restricted Pod Security Standard, with a read-only root file system and no token', () => {
  assert.deepEqual(container.securityContext, RESTRICTED);
  assert.equal(podSpec.automountServiceAccountToken, false);
  assert.equal(
    getIn(manifest('Namespace'), ['metadata', 'labels', 'pod-security.kubernetes.io/enforce']),
    'restricted',
  );
});

test('with cert-manager, caBundle comes from the certificate of the pods, which is for the Service', () => {
  const certificate = manifests('cert-manager/certificate.yaml').find(
    (one) => getIn(one, ['metadata', 'name']) === 'cambist-webhook' && one.kind === 'Certificate',
  );
  const [patch] = manifests('cert-manager/inject-ca.yaml');
  const source = getIn(patch, ['metadata', 'annotations', 'cert-manager.io/inject-ca-from']);
  assert.equal(source, 'cambist-system/cambist-webhook');
  assert.equal(getIn(certificate, ['spec', 'secretName']), getIn(podSpec, ['volumes', 0, 'secret', 'secretName']));
  assert.ok((getIn(certificate, ['spec', 'dnsNames']) as string[]).includes('cambist-webhook.cambist-system.svc'));
});

test('the webhook has no manifest of a Secret', () => {
  for (const file of FILES) for (const one of manifests(file)) assert.notEqual(one.kind, 'Secret', file);
});
