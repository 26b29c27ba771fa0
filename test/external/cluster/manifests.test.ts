import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { parse } from 'yaml';
import { parseDocuments } from '../../integration/deploy/manifests.ts';
import { CRDS, startCluster } from './cluster.ts';
import { type Container, failed, guideManifests, type Metadata, namesOf, succeeded } from './objects.ts';

const agentOfGuide = guideManifests('yaml kagent').find((text) => text.includes('name: developer')) ?? '';

/** The fields of kagent's Agent that these tests check. */
interface Agent {
  readonly spec: { readonly declarative: { readonly deployment: { readonly extraContainers?: readonly Container[] } } };
}

const kinds = readdirSync(CRDS).filter((name) => !name.startsWith('kubernetes-'));
const namespaces = { agents: 'restricted', kagent: 'privileged', 'team-a': 'restricted' } as const;
const cluster = await startCluster({ namespaces, kinds });

/** Applies with strict field validation. */
const apply = (args: readonly string[], input?: object) =>
  cluster.kubectl(['apply', '--server-side', '--validate=strict', ...args], input);

for (const [source, ...flags] of [
  ['deploy', '-n', 'agents', '-k'],
  ['deploy/podmonitor.yaml', '-n', 'agents', '-f'],
  ['deploy/prometheusrule.yaml', '-n', 'agents', '-f'],
  ['deploy/gateway/agents', '-n', 'agents', '-k'],
  ['deploy/gateway/shared-cache', '-n', 'agents', '-k'],
  ['deploy/webhook/base', '-k'],
  ['deploy/webhook/cert-manager', '-k'],
  ['deploy/webhook/required.yaml', '-f'],
] as const) {
  test(`the API server accepts ${source}`, async () => {
    succeeded(await apply([...flags, source]));
  });
}

test('the API server accepts every manifest of the Kubernetes guide', async () => {
  const [own, kagent] = [guideManifests('yaml'), guideManifests('yaml kagent')];
  assert.ok(own.length > 0 && kagent.length > 0);
  for (const manifest of [...own, ...kagent].flatMap((text) => parseDocuments<{ metadata: Metadata }>(text))) {
    const { namespace = 'agents' } = manifest.metadata;
    succeeded(await apply(['-n', namespace, '-f', '-'], manifest));
  }
});

test('the guide creates the ConfigMap and the Secret for kagent, with the files that the config reads', async () => {
  const config = await readFile('config/kagent.yaml', 'utf8');
  await cluster.write('cambist.yaml', config);
  await cluster.write('client-secret', 'of the authorization server');
  await cluster.follow('kubectl -n kagent create configmap');
  const read = (kind: string) => cluster.read<{ data: Record<string, string> }>('-n', 'kagent', kind, 'cambist');
  assert.deepEqual((await read('configmap')).data, { 'cambist.yaml': config });
  const files = Object.keys((await read('secret')).data).map((key) => `/var/run/secrets/cambist/${key}`);
  assert.ok(files.length === 1 && files.every((file) => config.includes(file)));
});

test("the API server accepts kagent's Agent with a sidecar, and without it again", async () => {
  await cluster.write('agent.yaml', agentOfGuide);
  const apply = 'kubectl apply --server-side --validate=strict -f -';
  const script = `cambist inject --image registry.example.com/cambist:0.1.0 agent.yaml | tee injected.yaml | ${apply}`;
  await cluster.run(script);
  const read = () => cluster.read<Agent>('-n', 'kagent', 'agents.kagent.dev', 'developer');
  assert.deepEqual(namesOf((await read()).spec.declarative.deployment.extraContainers), ['cambist']);
  await cluster.run(`cambist uninject injected.yaml | ${apply}`);
  assert.equal((await read()).spec.declarative.deployment.extraContainers, undefined);
});

test('the API server refuses a misspelled field, in a kind of Kubernetes and in a kind of kagent', async () => {
  const manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'm', namespace: 'agents' }, dat: {} };
  assert.match(failed(await apply(['-f', '-'], manifest)), /\.dat: field not declared in schema/);
  const agent = parse(agentOfGuide);
  const misspelled = { ...agent, spec: { ...agent.spec, tpe: 'Declarative' } };
  assert.match(failed(await apply(['-f', '-'], misspelled)), /\.spec\.tpe: field not declared in schema/);
});
