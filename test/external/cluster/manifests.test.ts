import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { parseDocuments } from '../../integration/deploy/manifests.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { guideManifests, guideScript } from './guide.ts';
import {
  type Container,
  create,
  createNamespace,
  type Deployment,
  failed,
  type Metadata,
  namesOf,
  podOf,
  readObject,
  succeeded,
} from './objects.ts';

const CRDS = fileURLToPath(new URL('../../harness/fixtures/crds/', import.meta.url));

const agentOfGuide = guideManifests('yaml kagent').find((text) => text.includes('kind: Agent')) ?? '';

/** The fields of kagent's Agent that these tests check. */
interface Agent {
  readonly spec: { readonly declarative: { readonly deployment: { readonly extraContainers?: readonly Container[] } } };
}

let cluster: Cluster;

before(async () => {
  cluster = await startCluster();
  const definitions = readdirSync(CRDS).filter((name) => !name.startsWith('kubernetes-'));
  for (const name of definitions) succeeded(await cluster.kubectl(['apply', '--server-side', '-f', `${CRDS}${name}`]));
  succeeded(await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all']));
  await createNamespace(cluster, 'agents', { 'pod-security.kubernetes.io/enforce': 'restricted' });
  await createNamespace(cluster, 'kagent');
});

after(() => cluster?.close());

/** Applies with strict field validation. */
const apply = (args: readonly string[], input?: object) =>
  cluster.kubectl(['apply', '--server-side', '--validate=strict', ...args], input);

for (const [source, ...flags] of [
  ['deploy', '-n', 'agents', '-k'],
  ['deploy/podmonitor.yaml', '-n', 'agents', '-f'],
  ['deploy/prometheusrule.yaml', '-n', 'agents', '-f'],
  ['deploy/gateway/shared-cache', '-n', 'agents', '-k'],
  ['deploy/webhook/base', '-k'],
  ['deploy/webhook/cert-manager', '-k'],
  ['deploy/webhook/required.yaml', '-f'],
] as const) {
  test(`the API server accepts ${source}`, async () => {
    succeeded(await apply([...flags, source]));
  });
}

test("pods of the webhook's Deployment meet the restricted standard that their namespace enforces", async () => {
  const { metadata } = await readObject<{ metadata: Metadata }>(cluster, ['namespace', 'cambist-system']);
  assert.equal(metadata.labels?.['pod-security.kubernetes.io/enforce'], 'restricted');
  await create(
    cluster,
    podOf(await readObject<Deployment>(cluster, ['-n', 'cambist-system', 'deployment', 'cambist-webhook'])),
  );
});

test("the store's pod meets the restricted standard of the agents' namespace", async () => {
  await create(cluster, podOf(await readObject<Deployment>(cluster, ['-n', 'agents', 'deployment', 'cambist-valkey'])));
});

test('the API server accepts every manifest of the Kubernetes guide', async () => {
  const own = guideManifests('yaml').map((text) => ({ text, flags: ['-n', 'agents', '-f', '-'] }));
  const kagent = guideManifests('yaml kagent').map((text) => ({ text, flags: ['-f', '-'] }));
  assert.ok(own.length > 0 && kagent.length > 0);
  for (const { text, flags } of [...own, ...kagent]) {
    for (const manifest of parseDocuments<object>(text)) succeeded(await apply(flags, manifest));
  }
});

test('the guide creates the ConfigMap and the Secret for kagent, with the files that the config reads', async () => {
  const config = await readFile('config/kagent.yaml', 'utf8');
  await writeFile(join(cluster.folder, 'work', 'cambist.yaml'), config);
  await writeFile(join(cluster.folder, 'work', 'client-secret'), 'of the authorization server');
  succeeded(await cluster.shell(guideScript('kubectl -n kagent create configmap')));
  const read = (kind: string) =>
    readObject<{ data: Record<string, string> }>(cluster, ['-n', 'kagent', kind, 'cambist']);
  assert.deepEqual((await read('configmap')).data, { 'cambist.yaml': config });
  const files = Object.keys((await read('secret')).data).map((key) => `/var/run/secrets/cambist/${key}`);
  assert.ok(files.length === 1 && files.every((file) => config.includes(file)));
});

test("the API server accepts kagent's Agent with a sidecar, and without it again", async () => {
  await writeFile(join(cluster.folder, 'work', 'agent.yaml'), agentOfGuide);
  const apply = 'kubectl apply --server-side --validate=strict -f -';
  const script = `cambist inject --image registry.example.com/cambist:0.1.0 agent.yaml | tee injected.yaml | ${apply}`;
  succeeded(await cluster.shell(script));
  const read = () => readObject<Agent>(cluster, ['-n', 'kagent', 'agents.kagent.dev', 'developer']);
  assert.deepEqual(namesOf((await read()).spec.declarative.deployment.extraContainers), ['cambist']);
  succeeded(await cluster.shell(`cambist uninject injected.yaml | ${apply}`));
  assert.equal((await read()).spec.declarative.deployment.extraContainers, undefined);
});

test('the API server refuses a misspelled field, in a kind of Kubernetes and in a kind of kagent', async () => {
  const manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'm', namespace: 'agents' }, dat: {} };
  assert.match(failed(await apply(['-f', '-'], manifest)), /\.dat: field not declared in schema/);
  const agent = parse(agentOfGuide);
  const misspelled = { ...agent, spec: { ...agent.spec, tpe: 'Declarative' } };
  assert.match(failed(await apply(['-f', '-'], misspelled)), /\.spec\.tpe: field not declared in schema/);
});
