import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { stringify } from 'yaml';
import { type Cluster, startCluster } from './cluster.ts';
import { guideScript } from './guide.ts';
import {
  agentDeployment,
  create,
  createDefaultAccount,
  type Deployment,
  namesOf,
  type Pod,
  podOf,
  readObject,
  succeeded,
} from './objects.ts';
import { installWebhook, startWebhookPod } from './webhook-pod.ts';

let cluster: Cluster;

before(async () => {
  cluster = await startCluster();
});

after(() => cluster?.close());

/** Runs the block of the guide that contains this text, without commands that do not exit. */
async function follow(text: string): Promise<string> {
  return succeeded(await cluster.shell(guideScript(text).replace(/^.* --watch$/m, '')));
}

const write = (name: string, content: string) => writeFile(join(cluster.folder, 'work', name), content);

test('the steps of the guide create the example pod', async () => {
  const monitors = join(import.meta.dirname, '../../harness/fixtures/crds/monitoring.coreos.com_podmonitors.yaml');
  succeeded(await cluster.kubectl(['create', '-f', monitors]));
  await write('client-secret', 'of the authorization server\n');
  assert.match(await follow('validate --config deploy/cambist.yaml'), /valid: 2 routes, 1 authorization server/);
  await follow('pod-security.kubernetes.io/enforce=restricted');
  await follow('kubectl -n agents get pod agent --watch');
  const pod = await readObject<Pod>(cluster, ['-n', 'agents', 'pod', 'agent']);
  assert.deepEqual(namesOf(pod.spec.initContainers), ['cambist']);
});

test('the shortest way creates the Secret, the ConfigMap and the injected agent', async () => {
  succeeded(await cluster.shell('kubectl create namespace short'));
  await write('agent.yaml', stringify(agentDeployment({ name: 'agent' })));
  // The first command needs a registry and the last one a node: test/e2e/shortest-way.test.ts runs both with stand-ins.
  const commands = guideScript('cambist init --pod').trim().split('\n').slice(1, -1).join('\n');
  succeeded(await cluster.shell(`rm -f cambist.yaml\n${commands.replaceAll('-n agents', '-n short')}`));
  const { data } = await readObject<{ data: Record<string, string> }>(cluster, ['-n', 'short', 'configmap', 'cambist']);
  assert.match(data['cambist.yaml'] ?? '', /audience: github-mcp/);
  const { spec } = await readObject<Deployment>(cluster, ['-n', 'short', 'deployment', 'agent']);
  assert.deepEqual(namesOf(spec.template.spec.initContainers), ['cambist']);
});

test('the guide injects from a file and from the cluster, and uninjects', async () => {
  const deployment = agentDeployment({ name: 'agent' });
  await write('agent.yaml', stringify(deployment));
  succeeded(await cluster.shell('cambist inject --image r/cambist:1 agent.yaml >agent-injected.yaml'));
  await follow('cambist uninject');
  const { spec: stored } = await readObject<Deployment>(cluster, ['deployment', 'agent']);
  assert.deepEqual(
    stored.template.spec.initContainers?.map(({ image }) => image),
    ['registry.example.com/cambist:0.1.0'],
  );
});

test('the command of the guide replaces a client secret', async () => {
  await write('client-secret', 'another\n');
  await follow('patch secret cambist');
  const secret = await readObject<{ data: object }>(cluster, ['-n', 'agents', 'secret', 'cambist']);
  assert.deepEqual(secret.data, { 'client-secret': Buffer.from('another\n').toString('base64') });
});

test('the guide labels a template for the webhook, and shows the status of its pods', async (t) => {
  await createDefaultAccount(cluster, 'agents');
  succeeded(await cluster.shell('kubectl -n agents apply -f agent.yaml'));
  await installWebhook(cluster);
  const webhook = await startWebhookPod(cluster);
  t.after(webhook.stop);
  assert.doesNotMatch(await follow('"cambist.dev/inject":"enabled"'), /version/);
  const deployment = await readObject<Deployment>(cluster, ['-n', 'agents', 'deployment', 'agent']);
  await create(cluster, podOf(deployment));
  assert.match(await follow('"cambist.dev/inject":"enabled"'), /\{"version":"0\.1\.0"/);
});
