import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { eventually } from '../../harness/eventually.ts';
import { startHttpServer } from '../../harness/http-server.ts';
import type { CommandResult } from '../../harness/run-command.ts';
import { installWebhook, startCluster } from './cluster.ts';
import {
  agentDeployment,
  agentPod,
  type Deployment,
  failed,
  namesOf,
  OPTED_IN,
  type Pod,
  podOf,
  succeeded,
} from './objects.ts';
import { startWebhookPod } from './webhook-pod.ts';

const cluster = await startCluster({ namespaces: { agents: 'restricted', plain: 'privileged' }, webhook: true });
let webhook = await startWebhookPod(cluster);
after(() => webhook.stop());

function sidecarOf({ spec }: Pod) {
  const found = [...(spec.initContainers ?? []), ...spec.containers].find(({ name }) => name === 'cambist');
  assert.ok(found, 'the pod has no sidecar');
  return found;
}

test('the guide labels a template for the webhook, and shows the status of its pods', async () => {
  await cluster.create(agentDeployment({ name: 'agent', namespace: 'agents' }));
  assert.doesNotMatch(await cluster.follow('"cambist.dev/inject":"enabled"'), /version/);
  await cluster.create(podOf(await cluster.read<Deployment>('-n', 'agents', 'deployment', 'agent')));
  assert.match(await cluster.follow('"cambist.dev/inject":"enabled"'), /\{"version":"0\.1\.0"/);
});

test('injects a native sidecar as the first init container, and changes nothing else', async () => {
  const setUp = { ...agentPod('x').spec.containers[0], name: 'set-up', command: ['true'] };
  const spec = {
    initContainers: [setUp],
    volumes: [{ name: 'scratch', emptyDir: {} }],
    automountServiceAccountToken: false,
  };
  const plain = await cluster.create<Pod>(agentPod('not-injected', {}, spec));
  await cluster.create(agentPod('injected', { labels: OPTED_IN }, spec));
  const pod = await cluster.read<Pod>('-n', 'agents', 'pod', 'injected');
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

test("the pod's API token is mounted into the sidecar too, unless the pod disables it", async () => {
  const mounts = async (name: string, spec: object) => {
    const pod = await cluster.create<Pod>(agentPod(name, { labels: OPTED_IN }, spec));
    return sidecarOf(pod).volumeMounts?.map(({ mountPath }) => mountPath);
  };
  const token = '/var/run/secrets/kubernetes.io/serviceaccount';
  assert.deepEqual(await mounts('with-token', {}), ['/etc/cambist', token]);
  assert.deepEqual(await mounts('without-token', { automountServiceAccountToken: false }), ['/etc/cambist']);
});

test('the API server does not call the webhook without the label, nor for kube-system and its own namespace', async () => {
  const reviews = await webhook.metric('cambist_webhook_requests_total');
  for (const namespace of ['kube-system', 'cambist-system']) await cluster.createDefaultAccount(namespace);
  const pods = [
    agentPod('silent'),
    agentPod('out', { labels: { 'cambist.dev/inject': 'disabled' } }),
    agentPod('control-plane', { namespace: 'kube-system', labels: OPTED_IN }),
    agentPod('webhook', { namespace: 'cambist-system', labels: OPTED_IN }),
  ];
  for (const pod of pods) {
    const stored = await cluster.create<Pod>(pod);
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
  const pod = agentPod('p', { namespace: 'plain', labels: OPTED_IN }, { hostNetwork: true });
  const message = failed(await cluster.kubectl(['create', '-f', '-'], pod));
  const reason = 'cambist cannot be injected: hostNetwork is true: every process on the node could call cambist: ';
  assert.ok(message.includes(`admission webhook "inject.cambist.dev" denied the request: ${reason}`), message);
  assert.equal(await cluster.run('kubectl -n plain get pods -o name'), '');
});

test('server-side apply creates an injected pod, and applying the same manifest again changes nothing', async () => {
  const apply = () => cluster.kubectl(['apply', '--server-side', '-f', '-'], agentPod('applied', { labels: OPTED_IN }));
  succeeded(await apply());
  const first = await cluster.read<Pod>('-n', 'agents', 'pod', 'applied');
  assert.equal(sidecarOf(first).restartPolicy, 'Always');
  succeeded(await apply());
  assert.deepEqual(await cluster.read<Pod>('-n', 'agents', 'pod', 'applied'), first);
});

test('a copy of an injected pod keeps its sidecar unchanged', async () => {
  const first = await cluster.create<Pod>(agentPod('original', { labels: OPTED_IN }));
  const { labels = {}, annotations = {} } = first.metadata;
  const { spec } = await cluster.create<Pod>(agentPod('copy', { labels, annotations }, first.spec));
  assert.deepEqual(spec, first.spec);
});

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
  const { spec } = await cluster.create<Pod>(agentPod('bystander'));
  assert.equal(spec.initContainers, undefined);
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
  await cluster.run('kubectl apply -k deploy/webhook/base');
  await eventually('the webhook is not trusted', async () => (await attempt()).stderr.includes('x509: '));
  await cluster.follow('--trust old-ca.crt');
  await eventually('the webhook is trusted again, with its old certificate', async () => (await attempt()).code === 0);
});

/** An annotation for the port of the container that the other webhook adds. */
const MESH_PORT = 'mesh.example.com/port';

/** A webhook like those of service meshes and registry mirrors: it adds one container, and rewrites every image. */
const changePod: RequestListener = async (request, response) => {
  const { request: review } = JSON.parse(await text(request)) as { request: { uid: string; object: Pod } };
  const { metadata, spec } = review.object;
  const ports = [{ containerPort: Number(metadata.annotations?.[MESH_PORT] ?? 15001) }];
  const mesh = { op: 'add', path: '/spec/containers/-', value: { name: 'mesh', image: 'mesh:1', ports } };
  const mirrored = (spec.initContainers ?? []).map(({ image }, index) => {
    return { op: 'replace', path: `/spec/initContainers/${index}/image`, value: image.replace(/^[^/]*/, 'mirror') };
  });
  const hasMesh = spec.containers.some(({ name }) => name === 'mesh');
  const patch = hasMesh ? mirrored : [...mirrored, mesh];
  const answer = { uid: review.uid, allowed: true, patchType: 'JSONPatch', patch: base64(JSON.stringify(patch)) };
  const body = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer };
  response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
};

/** The API server calls webhooks in the order of their configurations' names: this one after cambist's. */
function configurationOf(url: string, ca: string) {
  return {
    apiVersion: 'admissionregistration.k8s.io/v1',
    kind: 'MutatingWebhookConfiguration',
    metadata: { name: 'later' },
    webhooks: [
      {
        name: 'later.example.com',
        admissionReviewVersions: ['v1'],
        clientConfig: { url: `${url}/`, caBundle: base64(ca) },
        rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['pods'] }],
        sideEffects: 'None',
      },
    ],
  };
}

const base64 = (content: string) => Buffer.from(content).toString('base64');

test('another webhook changes the pods after cambist', async (t) => {
  const authority = createCertificateAuthority('another webhook');
  const other = await startHttpServer(changePod, { tls: authority.issueServer() });
  await cluster.create(configurationOf(other.url, authority.cert));
  t.after(other.close);
  const isCalled = async () => {
    const probe = agentPod('probe', { namespace: 'plain' });
    return namesOf((await cluster.create<Pod>(probe, '--dry-run=server')).spec.containers).includes('mesh');
  };
  await eventually('the API server calls it', isCalled);

  await t.test(
    'a container that a later webhook adds gets the proxy variables, because the API server calls cambist again',
    async () => {
      const annotations = { 'cambist.dev/proxy-env': 'enabled' };
      const injected = () => webhook.metric('cambist_webhook_requests_total', { result: 'injected' });
      const before = await injected();
      const pod = await cluster.create<Pod>(agentPod('meshed', { namespace: 'plain', labels: OPTED_IN, annotations }));
      assert.deepEqual(namesOf(pod.spec.containers), ['agent', 'mesh']);
      assert.deepEqual(namesOf(pod.spec.initContainers), ['cambist']);
      for (const { name, env = [] } of pod.spec.containers) {
        assert.deepEqual(
          env.map((variable) => variable.name).sort(),
          ['HTTP_PROXY', 'NO_PROXY', 'http_proxy', 'no_proxy'],
          name,
        );
      }
      assert.equal(await injected(), before + 2);
    },
  );

  await t.test('the second call keeps the changes of other webhooks to the sidecar', async () => {
    const before = await webhook.metric('cambist_webhook_requests_total', { result: 'unchanged' });
    const pod = await cluster.create<Pod>(agentPod('plain', { namespace: 'plain', labels: OPTED_IN }));
    assert.deepEqual(namesOf(pod.spec.initContainers), ['cambist']);
    assert.equal(pod.spec.initContainers?.[0]?.image, 'mirror/cambist:0.1.0');
    assert.equal(await webhook.metric('cambist_webhook_requests_total', { result: 'unchanged' }), before + 1);
  });

  await t.test(
    "refuses a pod in which a later webhook adds a container with cambist's port, with a remedy",
    async () => {
      const meshed = (name: string, more: object) => {
        return agentPod(name, { namespace: 'plain', labels: OPTED_IN, annotations: { [MESH_PORT]: '8180', ...more } });
      };
      const message = failed(await cluster.kubectl(['create', '-f', '-'], meshed('conflicts', {})));
      const reason = 'container "mesh" uses port 8180: choose another port with cambist.dev/port and the config';
      assert.ok(message.includes(`cambist cannot be injected: ${reason}`), message);
      const pod = await cluster.create<Pod>(meshed('fixed', { 'cambist.dev/port': '8280' }));
      assert.deepEqual(namesOf(pod.spec.containers), ['agent', 'mesh']);
    },
  );
});
