import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { installWebhook, startCluster } from './cluster.ts';
import { agentDeployment, type Deployment, guideScript, namesOf, type Pod, podOf } from './objects.ts';
import { startWebhookPod } from './webhook-pod.ts';

const cluster = await startCluster({ kinds: ['monitoring.coreos.com_podmonitors.yaml'] });
const { follow, write } = cluster;

test('the steps of the guide create the example pod', async () => {
  await write('client-secret', 'of the authorization server\n');
  assert.match(await follow('validate --config deploy/cambist.yaml'), /valid: 2 routes, 1 authorization server/);
  await follow('pod-security.kubernetes.io/enforce=restricted');
  await follow('kubectl -n agents get pod agent --watch');
  const pod = await cluster.read<Pod>('-n', 'agents', 'pod', 'agent');
  assert.deepEqual(namesOf(pod.spec.initContainers), ['cambist']);
});

test('the shortest way creates the Secret, the ConfigMap and the injected agent', async () => {
  await cluster.run('kubectl create namespace short');
  await write('agent.yaml', stringify(agentDeployment({ name: 'agent' })));
  // The first command needs a registry and the last one a node: test/external/node/first-call.test.ts runs both.
  const commands = guideScript('cambist init --pod').trim().split('\n').slice(1, -1).join('\n');
  await cluster.run(`rm -f cambist.yaml\n${commands.replaceAll('-n agents', '-n short')}`);
  const { data } = await cluster.read<{ data: Record<string, string> }>('-n', 'short', 'configmap', 'cambist');
  assert.match(data['cambist.yaml'] ?? '', /audience: github-mcp/);
  const { spec } = await cluster.read<Deployment>('-n', 'short', 'deployment', 'agent');
  assert.deepEqual(namesOf(spec.template.spec.initContainers), ['cambist']);
});

test('the guide injects from a file and from the cluster, and uninjects', async () => {
  const deployment = agentDeployment({ name: 'agent' });
  await write('agent.yaml', stringify(deployment));
  await cluster.run('cambist inject --image r/cambist:1 agent.yaml >agent-injected.yaml');
  await follow('cambist uninject');
  const { spec: stored } = await cluster.read<Deployment>('deployment', 'agent');
  assert.deepEqual(
    stored.template.spec.initContainers?.map(({ image }) => image),
    ['registry.example.com/cambist:0.1.0'],
  );
});

test('the command of the guide replaces a client secret', async () => {
  await write('client-secret', 'another\n');
  await follow('patch secret cambist');
  const secret = await cluster.read<{ data: object }>('-n', 'agents', 'secret', 'cambist');
  assert.deepEqual(secret.data, { 'client-secret': Buffer.from('another\n').toString('base64') });
});

test('the command of the guide adds a certificate authority, which later commands keep', async () => {
  const keys = async () => {
    const { data } = await cluster.read<{ data: object }>('-n', 'agents', 'configmap', 'cambist');
    return Object.keys(data).sort();
  };
  await write('ca.pem', 'of the company\n');
  await follow('--from-file=ca.pem');
  assert.deepEqual(await keys(), ['ca.pem', 'cambist.yaml']);
  await cluster.run('kubectl -n agents apply -k deploy');
  assert.deepEqual(await keys(), ['ca.pem', 'cambist.yaml']);
});

test('the guide labels a template for the webhook, and shows the status of its pods', async (t) => {
  await cluster.createDefaultAccount('agents');
  await cluster.run('kubectl -n agents apply -f agent.yaml');
  await installWebhook(cluster);
  const webhook = await startWebhookPod(cluster);
  t.after(webhook.stop);
  assert.doesNotMatch(await follow('"cambist.dev/inject":"enabled"'), /version/);
  const deployment = await cluster.read<Deployment>('-n', 'agents', 'deployment', 'agent');
  await cluster.create(podOf(deployment));
  assert.match(await follow('"cambist.dev/inject":"enabled"'), /\{"version":"0\.1\.0"/);
});
