import assert from 'node:assert/strict';
import { test } from 'node:test';
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
} from './objects.ts';
import { startWebhookPod } from './webhook-pod.ts';

const [webhookValues = '', gatewayValues = ''] = guideManifests('yaml values');

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

test('the API server accepts everything that the chart renders, without unknown fields', async () => {
  await cluster.addKinds('cert-manager.io_certificates.v1.19.0.json');
  await write('everything.yaml', JSON.stringify(VALUES.everything));
  const render = 'helm template cambist deploy/helm/cambist --namespace agents --values everything.yaml';
  await run(`${render} | kubectl create --dry-run=server --validate=strict -f -`);
});
