import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { installDeployTools } from '../deploy/tools.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { guideManifests, guideScript } from './guide.ts';
import {
  agentPod,
  create,
  createNamespace,
  type Deployment,
  failed,
  namesOf,
  OPTED_IN,
  type Pod,
  podOf,
  readObject,
  succeeded,
} from './objects.ts';
import { startWebhookPod } from './webhook-pod.ts';

const { bin } = await installDeployTools();
const [webhookValues = '', gatewayValues = '', replicasValues = ''] = guideManifests('yaml values');

let cluster: Cluster;

before(async () => {
  cluster = await startCluster();
  await createNamespace(cluster, 'agents', { 'pod-security.kubernetes.io/enforce': 'restricted' });
});

after(() => cluster?.close());

/** Runs a script with helm in the path. */
const shell = (script: string) => cluster.shell(`PATH=${bin}:$PATH\n${script}`);

/** Runs the block of the guide that contains this text. */
const follow = async (text: string) => succeeded(await shell(guideScript(text)));

const write = (name: string, content: string) => writeFile(join(cluster.folder, 'work', name), content);

async function assertInjects(name: string): Promise<void> {
  const { spec } = await create<Pod>(cluster, agentPod(name, { labels: OPTED_IN }));
  assert.deepEqual(namesOf(spec.initContainers), ['cambist']);
  assert.ok(namesOf(spec.volumes).includes('cambist-secret'), 'the Secret of the values is not mounted');
}

test('the webhook of the chart without cert-manager injects, also while its certificate is renewed', async (t) => {
  await write('webhook.yaml', webhookValues.replace(/^ *certManager: true\n/m, ''));
  await follow('cambist gen-certs | kubectl apply -f -');
  const webhook = await startWebhookPod(cluster);
  t.after(webhook.stop);
  await assertInjects('first');
  await follow('cat new-ca.crt old-ca.crt');
  await assertInjects('with-the-old-certificate');
  await webhook.mountSecret();
  await webhook.waitForLog(({ msg }) => msg === 'certificate reloaded');
  await assertInjects('with-the-new-certificate');
});

test('the gateway of the chart is upgraded, rolled back and uninstalled as in the guide', async () => {
  await write('gateway.yaml', gatewayValues);
  const install = guideScript('--values gateway.yaml');
  assert.match(failed(await shell(install)), /no matches for kind "PodMonitor"/);
  const monitors = join(import.meta.dirname, '../../harness/fixtures/crds/monitoring.coreos.com_podmonitors.yaml');
  succeeded(await cluster.kubectl(['create', '-f', monitors]));
  succeeded(await cluster.kubectl(['wait', '--for=condition=Established', 'crd', '--all']));
  succeeded(await shell(install));
  const image = async () => {
    const { spec } = await readObject<Deployment>(cluster, ['-n', 'agents', 'deployment', 'cambist-gateway']);
    return spec.template.spec.containers[0]?.image;
  };
  assert.equal(await image(), 'registry.example.com/cambist:0.1.0');
  succeeded(await shell(`${install.trim()} --set image.tag=0.2.0`));
  assert.equal(await image(), 'registry.example.com/cambist:0.2.0');
  succeeded(await shell('helm rollback cambist --namespace agents'));
  assert.equal(await image(), 'registry.example.com/cambist:0.1.0');
  succeeded(await shell('helm uninstall cambist --namespace agents'));
  const left = ['-n', 'agents', 'get', 'deployment,service,configmap,networkpolicy,podmonitor', '-o', 'name'];
  assert.doesNotMatch(succeeded(await cluster.kubectl(left)), /cambist-gateway/);
});

test('three replicas and a Valkey are installed as in the guide, and moved to TLS', async () => {
  await write('replicas.yaml', replicasValues);
  const secret = ['-n', 'agents', 'create', 'secret', 'generic', 'cambist', '--from-literal=client-secret=known'];
  succeeded(await cluster.kubectl(secret));
  await follow('> users.acl');
  const { data } = await readObject<{ data: Record<string, string> }>(cluster, ['-n', 'agents', 'secret', 'cambist']);
  assert.deepEqual(Object.keys(data).sort(), ['client-secret', 'shared-cache-key', 'valkey-password']);
  succeeded(await shell(guideScript('replicas.yaml\n')));
  const read = (name: string) => readObject<Deployment>(cluster, ['-n', 'agents', 'deployment', name]);
  const gateway = await read('cambist-gateway');
  assert.equal(gateway.spec.replicas, 3);
  for (const deployment of [gateway, await read('cambist-valkey')]) await create<Pod>(cluster, podOf(deployment));
  await follow('valkey.certificateSecret');
  const [container] = (await read('cambist-valkey')).spec.template.spec.containers;
  assert.deepEqual(namesOf(container?.volumeMounts), ['users', 'certificate']);
  const config = await readObject<{ data: Record<string, string> }>(cluster, [
    '-n',
    'agents',
    'configmap',
    'cambist-gateway',
  ]);
  assert.match(config.data['cambist.yaml'] ?? '', /url: rediss:/);
  assert.match(config.data['valkey-ca.pem'] ?? '', /BEGIN CERTIFICATE/);
  succeeded(await shell('helm uninstall cambist --namespace agents'));
});
