import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { test } from 'node:test';
import { getIn, type JsonObject } from '../../../src/kubernetes/json.ts';
import { byName, only, podSpec, renderChart, renderKustomization } from './render.ts';
import { VALUES } from './values.ts';

const FOLDERS = readdirSync('deploy', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('kustomization.yaml'))
  .map(dirname);

for (const folder of FOLDERS) {
  test(`kustomize builds deploy/${folder} into valid manifests`, async () => {
    assert.ok((await renderKustomization(folder)).manifests.length > 0);
  });
}

test('kustomize with cert-manager and the chart install the same webhook', async () => {
  const { 'Namespace cambist-system': namespace, ...byKustomize } = byName(
    await renderKustomization('webhook/cert-manager'),
  );
  // helm creates the namespace itself, with --create-namespace.
  assert.ok(namespace);
  assert.deepEqual(byName(await renderChart(VALUES['webhook with cert-manager'])), byKustomize);
});

test('without cert-manager both differ only in caBundle, which gen-certs fills in', async () => {
  const values = VALUES['webhook with a Secret'];
  const { 'Namespace cambist-system': _, ...byKustomize } = byName(await renderKustomization('webhook/base'));
  const byChart = byName(await renderChart(values));
  const key = 'MutatingWebhookConfiguration cambist-webhook';
  const configuration = byChart[key] as JsonObject;
  assert.equal(getIn(configuration, ['webhooks', 0, 'clientConfig', 'caBundle']), values.webhook.caBundle);
  const { caBundle: _bundle, ...client } = getIn(configuration, ['webhooks', 0, 'clientConfig']) as JsonObject;
  const [webhook] = configuration.webhooks as JsonObject[];
  const without = { ...configuration, webhooks: [{ ...webhook, clientConfig: client }] };
  assert.deepEqual({ ...byChart, [key]: without }, byKustomize);
});

for (const [folder, values] of [
  ['gateway/base', VALUES.gateway],
  ['gateway/agents', VALUES['gateway with agents']],
  ['gateway/shared-cache', VALUES['gateway with a shared cache']],
] as const) {
  test(`the chart and deploy/${folder} install the same`, async () => {
    const byChart = byName(await renderChart(values, { namespace: 'agents' }));
    const { manifests } = await renderKustomization(folder);
    const placed = manifests.map((one) => ({ ...one, metadata: { ...(one.metadata as object), namespace: 'agents' } }));
    const key = 'ConfigMap cambist-gateway';
    const { [key]: mapOfChart, ...chart } = byChart;
    const { [key]: map, ...base } = byName({ text: '', manifests: placed as JsonObject[] });
    assert.deepEqual(chart, base);
    // The config texts differ in comments and order. chart.test.ts compares their content.
    assert.deepEqual(getIn(map, ['metadata']), getIn(mapOfChart, ['metadata']));
  });
}

test('the example overlays set image, replicas and more in one place each', async () => {
  const image = 'registry.internal.example/platform/cambist:0.1.0';
  const [webhook, gateway] = [
    await renderKustomization('webhook/example'),
    await renderKustomization('gateway/example'),
  ];
  for (const rendered of [webhook, gateway]) {
    assert.equal(getIn(only(rendered, 'Deployment'), ['spec', 'replicas']), 3);
    assert.equal(getIn(podSpec(rendered), ['containers', 0, 'image']), image);
  }
  const args = getIn(podSpec(webhook), ['containers', 0, 'args']) as string[];
  assert.deepEqual(args.slice(3), [`--image=${image}`, '--config-map=cambist', '--secret=cambist']);
  assert.equal(getIn(only(gateway, 'Deployment'), ['metadata', 'namespace']), 'agents');
});
