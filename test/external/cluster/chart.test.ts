import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeJwt } from 'jose';
import { parseConfig } from '../../../src/config/load.ts';
import { VALUES } from '../deploy/values.ts';
import { installDeployTools } from '../installs.ts';
import { startCluster } from './cluster.ts';
import {
  agentPod,
  type Deployment,
  failed,
  guideManifests,
  guideScript,
  namesOf,
  OPTED_IN,
  type Pod,
  podOf,
} from './objects.ts';
import { startWebhookPod } from './webhook-pod.ts';

const [webhookValues = '', gatewayValues = '', agentsValues = '', _svids, replicasValues = ''] =
  guideManifests('yaml values');

const cluster = await startCluster({ namespaces: { agents: 'restricted' }, path: await installDeployTools() });
const { follow, run, write } = cluster;

async function assertInjects(name: string): Promise<void> {
  const { spec } = await cluster.create<Pod>(agentPod(name, { labels: OPTED_IN }));
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
  const install = guideScript('--values gateway.yaml\n');
  assert.match(failed(await cluster.shell(install)), /no matches for kind "PodMonitor"/);
  await cluster.addKinds('monitoring.coreos.com_podmonitors.yaml', 'monitoring.coreos.com_prometheusrules.yaml');
  await run(install);
  const image = async () => {
    const { spec } = await cluster.read<Deployment>('-n', 'agents', 'deployment', 'cambist-gateway');
    return spec.template.spec.containers[0]?.image;
  };
  assert.equal(await image(), 'registry.example.com/cambist:0.1.0');
  await run(`${install.trim()} --set image.tag=0.2.0`);
  assert.equal(await image(), 'registry.example.com/cambist:0.2.0');
  await run('helm rollback cambist --namespace agents');
  assert.equal(await image(), 'registry.example.com/cambist:0.1.0');
  await run('helm uninstall cambist --namespace agents');
  const left = 'kubectl -n agents get deployment,service,configmap,networkpolicy,podmonitor -o name';
  assert.doesNotMatch(await run(left), /cambist-gateway/);
});

test('a gateway that knows its agents is installed as in its guide, and its agent has the token of a known one', async () => {
  await write('agents.yaml', agentsValues.replace(/issuerRef: .*$/m, 'secret: cambist-gateway-tls'));
  await write('agent.yaml', guideManifests('yaml').find((text) => text.includes('name: billing')) ?? '');
  await write('client-secret', 'known');
  await run(guideScript('create namespace team-a').replace('kubectl create namespace agents\n', ''));
  await follow('gen-certs --service cambist-gateway');
  await run(guideScript('--values agents.yaml').split('\n')[0] ?? '');
  const gateway = await cluster.read<Deployment>('-n', 'agents', 'deployment', 'cambist-gateway');
  assert.ok(namesOf(gateway.spec.template.spec.volumes).includes('cambist-tls'));
  await cluster.create<Pod>(podOf(gateway));
  await follow('create configmap cambist-ca');
  await run('kubectl -n team-a apply -f agent.yaml');
  const { spec } = await cluster.read<Pod>('-n', 'team-a', 'pod', 'billing');
  assert.deepEqual(namesOf(spec.volumes), ['cambist']);
  const { sub, aud } = decodeJwt((await run('kubectl -n team-a create token billing --audience cambist')).trim());
  assert.deepEqual(aud, ['cambist']);
  const config = await run("kubectl -n agents get configmap cambist-gateway -o jsonpath='{.data.cambist\\.yaml}'");
  const { agents } = parseConfig(config, 'cambist.yaml').config ?? {};
  assert.deepEqual(
    agents?.known.map(({ name, serviceAccount }) => [name, serviceAccount]),
    [
      ['billing', 'team-a/billing'],
      ['support', 'team-b/support'],
    ],
  );
  assert.equal(sub, 'system:serviceaccount:team-a:billing');
  await run('helm uninstall cambist --namespace agents && kubectl -n agents delete secret cambist');
});

test('three replicas and a Valkey are installed as in the guide, and moved to TLS', async () => {
  await write('replicas.yaml', replicasValues);
  await run('kubectl -n agents create secret generic cambist --from-literal=client-secret=known');
  await follow('> users.acl');
  const { data } = await cluster.read<{ data: Record<string, string> }>('-n', 'agents', 'secret', 'cambist');
  assert.deepEqual(Object.keys(data).sort(), ['client-secret', 'shared-cache-key', 'valkey-password']);
  await run(guideScript('replicas.yaml\n'));
  const read = (name: string) => cluster.read<Deployment>('-n', 'agents', 'deployment', name);
  const gateway = await read('cambist-gateway');
  assert.equal(gateway.spec.replicas, 3);
  for (const deployment of [gateway, await read('cambist-valkey')]) await cluster.create<Pod>(podOf(deployment));
  await follow('valkey.certificateSecret');
  const [container] = (await read('cambist-valkey')).spec.template.spec.containers;
  assert.deepEqual(namesOf(container?.volumeMounts), ['users', 'certificate']);
  const config = await cluster.read<{ data: Record<string, string> }>('-n', 'agents', 'configmap', 'cambist-gateway');
  assert.match(config.data['cambist.yaml'] ?? '', /url: rediss:/);
  assert.match(config.data['valkey-ca.pem'] ?? '', /BEGIN CERTIFICATE/);
  await run('helm uninstall cambist --namespace agents');
});

test('the API server accepts everything that the chart renders, without unknown fields', async () => {
  await cluster.addKinds('cert-manager.io_certificates.v1.19.0.json');
  await write('everything.yaml', JSON.stringify(VALUES.everything));
  const render = 'helm template cambist deploy/helm/cambist --namespace agents --values everything.yaml';
  await run(`${render} | kubectl create --dry-run=server --validate=strict -f -`);
});
