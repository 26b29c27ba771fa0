import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { startCluster } from './cluster.ts';
import { agentPod, failed, namesOf, OPTED_IN, type Pod, succeeded } from './objects.ts';
import { startWebhookPod } from './webhook-pod.ts';

const cluster = await startCluster({ namespaces: { agents: 'privileged', free: 'privileged' }, webhook: true });
const webhook = await startWebhookPod(cluster);
after(webhook.stop);
await cluster.create(agentPod('from-before'));
await cluster.follow('deploy/webhook/required.yaml');
await eventually('the API server applies the policy', async () => (await attempt(agentPod('probe'))).code === 1);

function attempt(pod: object) {
  return cluster.kubectl(['create', '--dry-run=server', '-f', '-'], pod);
}

const REQUIRED = 'this namespace requires cambist beside the agent: label the pod cambist.dev/inject: enabled';
const FALSE = 'container "cambist" must be of image registry.example.com/cambist, without command and arguments';

test('a namespace that requires cambist admits only pods with a sidecar, native or classic', async () => {
  assert.ok(failed(await attempt(agentPod('silent'))).includes(REQUIRED));
  const out = agentPod('out', { labels: { 'cambist.dev/inject': 'disabled' } });
  assert.ok(failed(await attempt(out)).includes(REQUIRED));
  for (const form of ['native', 'classic']) {
    const annotations = { 'cambist.dev/sidecar': form, 'cambist.dev/image': 'registry.example.com/cambist@sha256:0' };
    const { spec } = await cluster.create<Pod>(agentPod(form, { labels: OPTED_IN, annotations }));
    assert.ok([...namesOf(spec.initContainers), ...namesOf(spec.containers)].includes('cambist'));
  }
});

test('it refuses any other container named cambist, whatever the label and the annotations say', async () => {
  const status = '{"version":"0.1.0","port":8180,"adminPort":9180}';
  const forged = (more: object, list = 'initContainers') => {
    const sidecar = { name: 'cambist', image: 'registry.example.com/cambist:0.1.0', restartPolicy: 'Always', ...more };
    return agentPod('forged', { annotations: { 'cambist.dev/status': status } }, { [list]: [sidecar] });
  };
  succeeded(await attempt(forged({})));
  const cases: [object, string][] = [
    [forged({ image: 'registry.example.com/cambist-not:1' }), FALSE],
    [forged({ image: 'registry.example.com/cambist' }), FALSE],
    [forged({ command: ['sleep', 'inf'] }), FALSE],
    [forged({ args: ['version'] }), FALSE],
    [forged({ restartPolicy: undefined }), REQUIRED],
    [forged({ image: 'x', restartPolicy: undefined }, 'containers'), FALSE],
    [agentPod('other', { labels: OPTED_IN, annotations: { 'cambist.dev/image': 'x/cambist:1' } }), FALSE],
  ];
  for (const [pod, reason] of cases) {
    const message = failed(await attempt(pod));
    assert.ok(message.includes(`ValidatingAdmissionPolicy 'cambist-required'`) && message.includes(reason), message);
  }
});

test('it refuses another image for a running sidecar; an earlier pod can be labelled and deleted', async () => {
  await cluster.create(agentPod('running', { labels: OPTED_IN }));
  const set = (image: string) => cluster.kubectl(['-n', 'agents', 'set', 'image', 'pod/running', `cambist=${image}`]);
  assert.ok(failed(await set('x:1')).includes(FALSE));
  succeeded(await set('registry.example.com/cambist:0.1.1'));
  succeeded(await cluster.kubectl(['-n', 'agents', 'label', 'pod', 'from-before', 'a=b']));
  succeeded(await cluster.kubectl(['-n', 'agents', 'delete', 'pod', 'from-before', '--force', '--wait=false']));
});

test('other namespaces do not require it', async () => {
  const { spec } = await cluster.create<Pod>(agentPod('bystander', { namespace: 'free' }));
  assert.deepEqual(namesOf(spec.containers), ['agent']);
});
