import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { parse } from 'yaml';
import { startCluster } from './cluster.ts';
import {
  agentDeployment,
  agentPod,
  type Deployment,
  failed,
  guideManifests,
  namesOf,
  type Pod,
  succeeded,
} from './objects.ts';
import { startWebhookPod } from './webhook-pod.ts';

const cluster = await startCluster({
  namespaces: { agents: 'restricted', baseline: 'baseline', privileged: 'privileged' },
  webhook: true,
});
const webhook = await startWebhookPod(cluster);
after(webhook.stop);

interface InterceptedSpec {
  readonly hostAliases?: readonly { readonly ip: string; readonly hostnames: readonly string[] }[];
  readonly securityContext?: { readonly sysctls?: readonly { readonly name: string; readonly value: string }[] };
}

const IMAGES =
  '--image registry.example.com/cambist:0.1.0 --redirect-image registry.example.com/cambist-redirect:0.1.0';
const HOSTS = 'mcp.example.com,jira.example.com';
const OWN = { hostAliases: [{ ip: '127.0.0.1', hostnames: ['own.example.com'] }] };

/** Injects an object and creates it. @returns standard error of kubectl and inject */
async function injectAndCreate(object: object, flags: string) {
  await cluster.write('object.json', JSON.stringify(object));
  const inject = `cambist inject ${IMAGES} --intercept-hosts ${HOSTS} ${flags} object.json`;
  return cluster.shell(`${inject} | kubectl create --validate=strict -o json -f -`);
}

for (const way of ['proxy', 'names']) {
  test(`${way}: the API server accepts the injected pod under the restricted standard`, async () => {
    const result = await injectAndCreate(agentPod(way, {}, OWN), `--intercept ${way}`);
    const { spec } = JSON.parse(succeeded(result)) as Pod;
    assert.doesNotMatch(result.stderr, /Warning: /);
    const mounts = spec.containers[0]?.volumeMounts ?? [];
    assert.ok(mounts.some(({ mountPath }) => mountPath === '/run/cambist/trust'));
    assert.deepEqual(namesOf(spec.volumes).slice(0, 3), ['cambist-config', 'cambist-trust', 'cambist-ca']);
  });

  test(`${way}: a running Deployment is the same after inject and uninject, by both ways of apply`, async () => {
    for (const apply of ['kubectl apply', 'kubectl apply --server-side --force-conflicts']) {
      const name = `${way}-${apply.length}`;
      const deployment = agentDeployment({ name, namespace: 'agents' });
      deployment.spec.template.spec = { ...deployment.spec.template.spec, ...OWN };
      await cluster.write('before.json', JSON.stringify(deployment));
      await cluster.run(`${apply} -f before.json`);
      const read = () => cluster.read<Deployment>('-n', 'agents', 'deployment', name);
      const before = await read();
      const inject = `cambist inject ${IMAGES} --intercept-hosts ${HOSTS} --intercept ${way} before.json`;
      await cluster.run(`${inject} > injected.json && ${apply} -f injected.json`);
      assert.deepEqual(namesOf((await read()).spec.template.spec.initContainers), ['cambist']);
      await cluster.run(`cambist uninject injected.json | ${apply} -f -`);
      assert.deepEqual((await read()).spec, before.spec);
    }
  });
}

test('names: the names join those of the pod, and the sysctl is stored', async () => {
  const pod = await cluster.read<{ spec: InterceptedSpec }>('-n', 'agents', 'pod', 'names');
  const { hostAliases, securityContext } = pod.spec;
  assert.deepEqual(hostAliases, [
    { ip: '127.0.0.1', hostnames: ['own.example.com', 'mcp.example.com', 'jira.example.com'] },
  ]);
  assert.deepEqual(securityContext?.sysctls, [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '80' }]);
});

test('packets: the restricted and the baseline standard refuse the pod, a privileged namespace accepts it', async () => {
  for (const [namespace, standard] of [
    ['agents', 'restricted'],
    ['baseline', 'baseline'],
  ]) {
    const refused = failed(
      await injectAndCreate(agentPod('packets', { namespace: namespace ?? '' }), '--intercept packets'),
    );
    assert.match(refused, new RegExp(`violates PodSecurity "${standard}:latest".*"cambist-redirect".*NET_ADMIN`));
  }
  const pod = agentPod('packets', { namespace: 'privileged' });
  const { spec } = JSON.parse(succeeded(await injectAndCreate(pod, '--intercept packets'))) as Pod;
  assert.deepEqual(namesOf(spec.initContainers), ['cambist-redirect', 'cambist']);
});

/** The annotations of the Agent on the page, and what the other ways need in their place. */
const planner = guideManifests('yaml kagent')
  .map((text) => parse(text))
  .find(({ metadata }) => metadata.name === 'planner');
const KAGENT_WAYS = {
  proxy: { 'cambist.dev/intercept': 'proxy' },
  names: {},
  packets: {
    'cambist.dev/intercept': 'packets',
    'cambist.dev/redirect-image': 'registry.example.com/cambist-redirect:0.1.0',
  },
} as const;

for (const [way, more] of Object.entries(KAGENT_WAYS)) {
  test(`${way}: the webhook intercepts the pod that kagent's controller makes of the Agent`, async () => {
    const { labels, annotations } = planner.spec.declarative.deployment;
    // The controller copies both to the pod, and names its container "kagent".
    // Only a privileged namespace accepts the init container of packets.
    const namespace = way === 'packets' ? 'privileged' : 'agents';
    const metadata = { namespace, labels, annotations: { ...annotations, ...more } };
    const { spec } = agentPod(`kagent-${way}`, metadata);
    const containers = [{ ...spec.containers[0], name: 'kagent' }];
    const pod = await cluster.create<Pod>({ ...agentPod(`kagent-${way}`, metadata), spec: { containers } });
    const added = way === 'packets' ? ['cambist-redirect', 'cambist'] : ['cambist'];
    assert.deepEqual(namesOf(pod.spec.initContainers), added);
    const { env = [], volumeMounts = [] } = pod.spec.containers[0] ?? {};
    assert.ok(namesOf(volumeMounts).includes('cambist-trust') && namesOf(env).includes('SSL_CERT_FILE'));
    assert.equal(
      env.some(({ name }) => name === 'HTTPS_PROXY'),
      way === 'proxy',
    );
    const aliases = (pod.spec as InterceptedSpec).hostAliases?.map(({ hostnames }) => hostnames);
    assert.deepEqual(aliases, way === 'names' ? [['releases-mcp.example.com']] : undefined);
  });
}

test("inbound: the API server accepts the moved agent, its Service's named port, and the printed NetworkPolicy", async () => {
  const ports = [{ name: 'http', containerPort: 8080 }];
  const probe = { httpGet: { path: '/healthz', port: 'http' } };
  const pod = agentPod('inbound', { labels: { app: 'inbound' } });
  const [container] = pod.spec.containers;
  const agent = { ...container, ports, readinessProbe: probe, livenessProbe: { tcpSocket: { port: 8080 } } };
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'inbound', namespace: 'agents' },
    spec: { selector: { app: 'inbound' }, ports: [{ name: 'http', port: 80, targetPort: 'http' }] },
  };
  const items = [service, { ...pod, spec: { ...pod.spec, containers: [agent] } }];
  await cluster.write('inbound.json', JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  const inject = `cambist inject ${IMAGES} --inbound 8080 inbound.json`;
  const create = 'kubectl create --validate=strict -o name -f -';
  const created = await cluster.run(`${inject} 2> advice | ${create}`);
  assert.deepEqual(created.trim().split('\n'), ['service/inbound', 'pod/inbound']);
  const policy = `sed -n '/^apiVersion/,$p' advice | kubectl -n agents create --validate=strict -o name -f -`;
  assert.equal(await cluster.run(policy), 'networkpolicy.networking.k8s.io/inbound-agent-port\n');
  const { spec } = await cluster.read<Pod & { spec: { containers: readonly object[] } }>(
    ...['-n', 'agents', 'pod', 'inbound'],
  );
  const [moved] = spec.containers as readonly (typeof agent & { env: object[] })[];
  assert.deepEqual(moved?.env, [{ name: 'PORT', value: '8081' }]);
  assert.equal(moved?.readinessProbe.httpGet.port, 8081);
  assert.equal(moved?.livenessProbe.tcpSocket.port, 8081);
  assert.deepEqual(namesOf(moved?.ports), ['http'], 'a Service that names the port leads to cambist');
  const [sidecar] = spec.initContainers ?? [];
  assert.ok(!sidecar?.ports?.some(({ containerPort }) => containerPort === 8080), 'a port is declared once');
});
