import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import type { CommandResult } from '../../harness/run-command.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { guideScript } from './guide.ts';
import { agentPod, create, createNamespace, failed, namesOf, OPTED_IN, type Pod, succeeded } from './objects.ts';
import { installWebhook, startWebhookPod, type WebhookPod } from './webhook-pod.ts';

let cluster: Cluster;
let webhook: WebhookPod;

before(async () => {
  cluster = await startCluster();
  await createNamespace(cluster, 'agents');
  await installWebhook(cluster);
  webhook = await startWebhookPod(cluster);
});

after(async () => {
  await webhook?.stop();
  await cluster?.close();
});

/** Creates a pod with the label, as a dry run. */
function attempt(): Promise<CommandResult> {
  const args = ['create', '--dry-run=server', '-o', 'json', '-f', '-'];
  return cluster.kubectl(args, agentPod('attempt', { labels: OPTED_IN }));
}

function assertInjected(result: CommandResult): void {
  const { spec } = JSON.parse(succeeded(result)) as Pod;
  assert.deepEqual(namesOf(spec.initContainers), ['cambist']);
}

test('a draining webhook keeps injecting; without the webhook, only pods with the label are refused', async () => {
  const stopped = webhook.stop();
  await webhook.waitForLog(({ msg }) => msg === 'cambist webhook is shutting down');
  assertInjected(await attempt());
  await stopped;
  const message = failed(await attempt());
  assert.match(message, /failed calling webhook "inject\.cambist\.dev": .* connection refused/);
  const { spec } = await create<Pod>(cluster, agentPod('bystander'));
  assert.equal(spec.initContainers, undefined);
  webhook = await startWebhookPod(cluster);
  assertInjected(await attempt());
});

test('a certificate renewed by the guide is trusted, and so is the old one while a pod still serves it', async () => {
  succeeded(await cluster.shell(guideScript('--trust old-ca.crt')));
  assertInjected(await attempt());
  await webhook.stop();
  webhook = await startWebhookPod(cluster);
  assertInjected(await attempt());
});

test('a certificate outside caBundle is refused, until the new Secret is mounted; no restart is needed', async () => {
  await installWebhook(cluster);
  await eventually('the old certificate is refused', async () => {
    const { stderr } = await attempt();
    return stderr.includes('x509: certificate signed by unknown authority');
  });
  await webhook.mountSecret();
  await webhook.waitForLog(({ msg }) => msg === 'certificate reloaded');
  await eventually('the new one is accepted', async () => (await attempt()).code === 0);
  assertInjected(await attempt());
});

test('manifests applied without gen-certs lose caBundle; the guide restores it', async () => {
  succeeded(await cluster.shell('kubectl apply -k deploy/webhook/base'));
  await eventually('the webhook is not trusted', async () => (await attempt()).stderr.includes('x509: '));
  succeeded(await cluster.shell(guideScript('--trust old-ca.crt')));
  await eventually('the webhook is trusted again, with its old certificate', async () => (await attempt()).code === 0);
});
