import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { type HttpServer, startHttpServer } from '../../harness/http-server.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { agentPod, create, createNamespace, failed, namesOf, OPTED_IN, type Pod } from './objects.ts';
import { installWebhook, startWebhookPod, type WebhookPod } from './webhook-pod.ts';

let cluster: Cluster;
let webhook: WebhookPod;
let other: HttpServer;

before(async () => {
  cluster = await startCluster();
  await createNamespace(cluster, 'agents');
  const authority = createCertificateAuthority('another webhook');
  other = await startHttpServer(changePod, { tls: authority.issueServer() });
  await create(cluster, configurationOf(other.url, authority.cert));
  await installWebhook(cluster);
  webhook = await startWebhookPod(cluster);
});

after(async () => {
  await webhook?.stop();
  await other?.close();
  await cluster?.close();
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

test('a container that a later webhook adds gets the proxy variables, because the API server calls cambist again', async () => {
  const annotations = { 'cambist.dev/proxy-env': 'enabled' };
  const injected = () => webhook.metric('cambist_webhook_requests_total', { result: 'injected' });
  const before = await injected();
  const pod = await create<Pod>(cluster, agentPod('meshed', { labels: OPTED_IN, annotations }));
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
});

test('the second call keeps the changes of other webhooks to the sidecar', async () => {
  const before = await webhook.metric('cambist_webhook_requests_total', { result: 'unchanged' });
  const pod = await create<Pod>(cluster, agentPod('plain', { labels: OPTED_IN }));
  assert.deepEqual(namesOf(pod.spec.initContainers), ['cambist']);
  assert.equal(pod.spec.initContainers?.[0]?.image, 'mirror/cambist:0.1.0');
  assert.equal(await webhook.metric('cambist_webhook_requests_total', { result: 'unchanged' }), before + 1);
});

test("refuses a pod in which a later webhook adds a container with cambist's port, with a remedy", async () => {
  const meshed = (name: string, more: object) => {
    return agentPod(name, { labels: OPTED_IN, annotations: { [MESH_PORT]: '8180', ...more } });
  };
  const message = failed(await cluster.kubectl(['create', '-f', '-'], meshed('conflicts', {})));
  const reason = 'container "mesh" uses port 8180: choose another port with cambist.dev/port and the config';
  assert.ok(message.includes(`cambist cannot be injected: ${reason}`), message);
  const pod = await create<Pod>(cluster, meshed('fixed', { 'cambist.dev/port': '8280' }));
  assert.deepEqual(namesOf(pod.spec.containers), ['agent', 'mesh']);
});
