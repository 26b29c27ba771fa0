import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Cluster, startCluster } from './cluster.ts';
import {
  agentPod,
  create,
  createDefaultAccount,
  createNamespace,
  failed,
  namesOf,
  OPTED_IN,
  type Pod,
  readObject,
  succeeded,
} from './objects.ts';
import { installWebhook, startWebhookPod, type WebhookPod } from './webhook-pod.ts';

let cluster: Cluster;
let webhook: WebhookPod;

before(async () => {
  cluster = await startCluster();
  await createNamespace(cluster, 'agents', { 'pod-security.kubernetes.io/enforce': 'restricted' });
  await createNamespace(cluster, 'plain');
  await installWebhook(cluster);
  webhook = await startWebhookPod(cluster);
});

after(async () => {
  await webhook?.stop();
  await cluster?.close();
});

/** A status like that of the webhook, for a pod that it has not injected. */
const FORGED = '{"version":"0.1.0","port":8180,"adminPort":9180}';

function sidecarOf({ spec }: Pod) {
  const found = [...(spec.initContainers ?? []), ...spec.containers].find(({ name }) => name === 'cambist');
  assert.ok(found, 'the pod has no sidecar');
  return found;
}

test('injects a native sidecar as the first init container, and changes nothing else', async () => {
  const setUp = { ...agentPod('x').spec.containers[0], name: 'set-up', command: ['true'] };
  const spec = {
    initContainers: [setUp],
    volumes: [{ name: 'scratch', emptyDir: {} }],
    automountServiceAccountToken: false,
  };
  const plain = await create<Pod>(cluster, agentPod('not-injected', {}, spec));
  await create(cluster, agentPod('injected', { labels: OPTED_IN }, spec));
  const pod = await readObject<Pod>(cluster, ['-n', 'agents', 'pod', 'injected']);
  assert.deepEqual(namesOf(pod.spec.initContainers), ['cambist', 'set-up']);
  assert.deepEqual(namesOf(pod.spec.volumes), ['scratch', 'cambist-config']);
  assert.equal(sidecarOf(pod).restartPolicy, 'Always');
  assert.equal(sidecarOf(pod).image, 'registry.example.com/cambist:0.1.0');
  assert.ok(pod.metadata.annotations?.['cambist.dev/status']);
  const ours = {
    initContainers: plain.spec.initContainers,
    volumes: plain.spec.volumes,
    terminationGracePeriodSeconds: 30,
  };
  assert.equal(pod.spec.terminationGracePeriodSeconds, 60);
  assert.deepEqual(pod.spec.initContainers?.slice(1), plain.spec.initContainers);
  assert.deepEqual({ ...pod.spec, ...ours }, plain.spec);
});

test('an annotation chooses a classic sidecar, after the other containers, with a hook before its shutdown', async () => {
  const annotations = { 'cambist.dev/sidecar': 'classic' };
  const pod = await create<Pod>(cluster, agentPod('classic', { labels: OPTED_IN, annotations }));
  assert.deepEqual(namesOf(pod.spec.containers), ['agent', 'cambist']);
  assert.equal(pod.spec.initContainers, undefined);
  const command = ['node', '-e', 'setTimeout(() => {}, 30000)'];
  assert.deepEqual(sidecarOf(pod).lifecycle, { preStop: { exec: { command } } });
});

test("annotations choose ports, Secret, token and the agent's proxy variables", async () => {
  const annotations = {
    'cambist.dev/port': '8280',
    'cambist.dev/admin-port': '9280',
    'cambist.dev/secret': 'cambist',
    'cambist.dev/token-audience': 'https://idp.example.com',
    'cambist.dev/image': 'registry.example.com/other:2',
    'cambist.dev/image-pull-policy': 'Always',
    'cambist.dev/cpu-limit': '1',
    'cambist.dev/log-level': 'debug',
    'cambist.dev/proxy-env': 'enabled',
  };
  const pod = await create<Pod>(cluster, agentPod('annotated', { labels: OPTED_IN, annotations }));
  const sidecar = sidecarOf(pod);
  assert.equal(sidecar.image, 'registry.example.com/other:2');
  assert.deepEqual(sidecar.ports, [{ name: 'cambist-admin', containerPort: 9280, protocol: 'TCP' }]);
  const mounted = ['cambist-config', 'cambist-secret', 'cambist-token'];
  for (const name of mounted)
    assert.ok(namesOf(sidecar.volumeMounts).includes(name) && namesOf(pod.spec.volumes).includes(name), name);
  const proxy = pod.spec.containers[0]?.env?.find(({ name }) => name === 'HTTP_PROXY');
  assert.equal(proxy?.value, 'http://127.0.0.1:8280');
});

test("the pod's API token is mounted into the sidecar too, unless the pod disables it", async () => {
  const mounts = async (name: string, spec: object) => {
    const pod = await create<Pod>(cluster, agentPod(name, { labels: OPTED_IN }, spec));
    return sidecarOf(pod).volumeMounts?.map(({ mountPath }) => mountPath);
  };
  const token = '/var/run/secrets/kubernetes.io/serviceaccount';
  assert.deepEqual(await mounts('with-token', {}), ['/etc/cambist', token]);
  assert.deepEqual(await mounts('without-token', { automountServiceAccountToken: false }), ['/etc/cambist']);
});

test('the API server does not call the webhook without the label, nor for kube-system and its own namespace', async () => {
  const reviews = await webhook.metric('cambist_webhook_requests_total');
  for (const namespace of ['kube-system', 'cambist-system']) await createDefaultAccount(cluster, namespace);
  const pods = [
    agentPod('silent'),
    agentPod('out', { labels: { 'cambist.dev/inject': 'disabled' } }),
    agentPod('control-plane', { namespace: 'kube-system', labels: OPTED_IN }),
    agentPod('webhook', { namespace: 'cambist-system', labels: OPTED_IN }),
  ];
  for (const pod of pods) {
    const stored = await create<Pod>(cluster, pod);
    assert.deepEqual([stored.spec.initContainers, namesOf(stored.spec.containers)], [undefined, ['agent']]);
  }
  assert.equal(await webhook.metric('cambist_webhook_requests_total'), reviews);
});

test('a pod that opts out by annotation beside the label is not injected, and gets a warning', async () => {
  const annotations = { 'cambist.dev/inject': 'disabled' };
  const { code, stdout, stderr } = await cluster.kubectl(
    ['create', '-o', 'json', '-f', '-'],
    agentPod('undecided', { labels: OPTED_IN, annotations }),
  );
  assert.equal(code, 0, stderr);
  assert.match(stderr, /^Warning: cambist: opted out: cambist\.dev\/inject is "disabled"$/m);
  assert.equal((JSON.parse(stdout) as Pod).spec.initContainers, undefined);
});

test('refuses a pod with the label that cannot be injected, with the reason', async () => {
  const opted = { namespace: 'plain', labels: OPTED_IN };
  const agent = (more: object) => ({ containers: [{ name: 'agent', image: 'agent:1', ...more }] });
  const cases: [object, string][] = [
    [
      agentPod('p', opted, { hostNetwork: true }),
      'hostNetwork is true: every process on the node could call cambist: remove hostNetwork, or use a gateway',
    ],
    [
      agentPod('p', opted, { shareProcessNamespace: true }),
      "shareProcessNamespace is true: root or user 65532 in another container could read cambist's secrets: remove shareProcessNamespace",
    ],
    [
      agentPod('p', opted, { os: { name: 'windows' } }),
      "the pod runs on Windows, and cambist's image is for Linux: use a gateway",
    ],
    [
      agentPod('p', opted, agent({ ports: [{ containerPort: 8180 }] })),
      'container "agent" uses port 8180: choose another port with cambist.dev/port and the config',
    ],
    [
      agentPod('p', opted, agent({ name: 'cambist' })),
      'a container "cambist" exists and was not injected: remove or rename it',
    ],
    [
      agentPod(
        'p',
        { ...opted, annotations: { 'cambist.dev/status': FORGED } },
        agent({ name: 'cambist', args: ['x'] }),
      ),
      'container "cambist" has a command or arguments, unlike a sidecar of cambist: remove it and the annotation cambist.dev/status',
    ],
    [
      agentPod('p', { ...opted, annotations: { 'cambist.dev/prt': '1' } }),
      'unknown annotation "cambist.dev/prt": did you mean "cambist.dev/port"?',
    ],
    [
      agentPod('p', { ...opted, annotations: { 'cambist.dev/sidecar': 'classic' } }, { restartPolicy: 'Never' }),
      'a classic sidecar would keep the pod from completing: use a native sidecar',
    ],
    [
      agentPod('p', { ...opted, labels: { 'cambist.dev/inject': 'true' } }),
      'cambist.dev/inject is "true": must be "enabled" or "disabled"',
    ],
  ];
  for (const [pod, reason] of cases) {
    const message = failed(await cluster.kubectl(['create', '-f', '-'], pod));
    assert.ok(message.includes('admission webhook "inject.cambist.dev" denied the request: '), message);
    assert.ok(message.includes(`cambist cannot be injected: ${reason}`), message);
  }
  assert.equal(succeeded(await cluster.kubectl(['-n', 'plain', 'get', 'pods', '-o', 'name'])), '');
});

test('a dry run shows the injected pod and stores nothing', async () => {
  const pod = await create<Pod>(cluster, agentPod('rehearsed', { labels: OPTED_IN }), '--dry-run=server');
  assert.equal(sidecarOf(pod).restartPolicy, 'Always');
  assert.match(failed(await cluster.kubectl(['-n', 'agents', 'get', 'pod', 'rehearsed'])), /NotFound/);
});

test('server-side apply creates an injected pod, and applying the same manifest again changes nothing', async () => {
  const apply = () => cluster.kubectl(['apply', '--server-side', '-f', '-'], agentPod('applied', { labels: OPTED_IN }));
  succeeded(await apply());
  const first = await readObject<Pod>(cluster, ['-n', 'agents', 'pod', 'applied']);
  assert.equal(sidecarOf(first).restartPolicy, 'Always');
  succeeded(await apply());
  assert.deepEqual(await readObject<Pod>(cluster, ['-n', 'agents', 'pod', 'applied']), first);
});

test('a copy of an injected pod keeps its sidecar unchanged', async () => {
  const first = await create<Pod>(cluster, agentPod('original', { labels: OPTED_IN }));
  const { labels = {}, annotations = {} } = first.metadata;
  const { spec } = await create<Pod>(cluster, agentPod('copy', { labels, annotations }, first.spec));
  assert.deepEqual(spec, first.spec);
});
