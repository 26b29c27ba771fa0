import assert from 'node:assert/strict';
import type { RequestListener } from 'node:http';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { type HttpServer, startHttpServer } from '../harness/http-server.ts';
import { type Cluster, startCluster } from './cluster.ts';
import { agentPod, create, createNamespace, namesOf, OPTED_IN, type Pod } from './objects.ts';
import { installWebhook, startWebhookPod, type WebhookPod } from './webhook-pod.ts';

let cluster: Cluster;
let webhook: WebhookPod;
let other: HttpServer;

before(async () => {
  cluster = await startCluster();
  await createNamespace(cluster, 'agents');
  const authority = createCertificateAuthority('another webhook');
  other = await startHttpServer(addContainer, { tls: authority.issueServer() });
  await create(cluster, configurationOf(other.url, authority.cert));
  await installWebhook(cluster);
  webhook = await startWebhookPod(cluster);
});

after(async () => {
  await webhook?.stop();
  await other?.close();
  await cluster?.close();
});

/** A webhook as service meshes have one: it adds a container, once. */
const addContainer: RequestListener = async (request, response) => {
  const { request: review } = JSON.parse(await text(request)) as { request: { uid: string; object: Pod } };
  const isThere = review.object.spec.containers.some(({ name }) => name === 'mesh');
  const patch = isThere ? [] : [{ op: 'add', path: '/spec/containers/-', value: { name: 'mesh', image: 'mesh:1' } }];
  const answer = { uid: review.uid, allowed: true, patchType: 'JSONPatch', patch: base64(JSON.stringify(patch)) };
  const body = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', response: answer };
  response.setHeader('content-type', 'application/json').end(JSON.stringify(body));
};

/** Webhooks are called in the order of their configurations' names: this one after ours. */
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

test('a container that a later webhook adds gets the proxy variables, since the API server asks a second time', async () => {
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

test('without proxy variables the second time changes nothing', async () => {
  const before = await webhook.metric('cambist_webhook_requests_total', { result: 'unchanged' });
  const pod = await create<Pod>(cluster, agentPod('plain', { labels: OPTED_IN }));
  assert.deepEqual(namesOf(pod.spec.initContainers), ['cambist']);
  assert.equal(await webhook.metric('cambist_webhook_requests_total', { result: 'unchanged' }), before + 1);
});
