import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { startCluster } from './cluster.ts';
import {
  agentDeployment,
  agentPod,
  type Deployment,
  failed,
  guideScript,
  namesOf,
  type Pod,
  succeeded,
} from './objects.ts';

const cluster = await startCluster({
  namespaces: { agents: 'restricted', baseline: 'baseline', privileged: 'privileged' },
});

const labels = { app: 'agent' };

/** A pod template that runs forever, or to completion. */
function template(restartPolicy: 'Always' | 'Never') {
  return { metadata: { labels }, spec: { ...agentPod('agent').spec, restartPolicy } };
}

/** One workload of each built-in kind. Those that run to completion come last. */
function workloads(name: string): object[] {
  const metadata = { name, namespace: 'agents' };
  const permanent = { selector: { matchLabels: labels }, template: template('Always') };
  const job = { template: template('Never') };
  return [
    agentPod(name),
    { apiVersion: 'apps/v1', kind: 'Deployment', metadata, spec: permanent },
    { apiVersion: 'apps/v1', kind: 'StatefulSet', metadata, spec: { ...permanent, serviceName: name } },
    { apiVersion: 'apps/v1', kind: 'DaemonSet', metadata, spec: permanent },
    { apiVersion: 'apps/v1', kind: 'ReplicaSet', metadata, spec: permanent },
    { apiVersion: 'batch/v1', kind: 'Job', metadata, spec: job },
    { apiVersion: 'batch/v1', kind: 'CronJob', metadata, spec: { schedule: '@daily', jobTemplate: { spec: job } } },
  ];
}

const FLAGS =
  '--image registry.example.com/cambist:0.1.0 --secret cambist --token-audience https://idp.example.com --proxy-env';

async function attempt(items: readonly object[], flags: string) {
  await cluster.write('list.json', JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  return cluster.shell(`cambist inject ${flags} list.json | kubectl create --validate=strict -o name -f -`);
}

/** Injects objects and creates them. @returns the names of the created objects */
async function injectAndCreate(items: readonly object[], flags: string): Promise<string[]> {
  const result = await attempt(items, flags);
  // A violation of the restricted standard is only a warning for a template.
  assert.doesNotMatch(result.stderr, /Warning: /);
  return succeeded(result).trim().split('\n');
}

test('the API server accepts every kind of injected workload, under the restricted standard', async () => {
  const native = workloads('native');
  assert.equal((await injectAndCreate(native, FLAGS)).length, native.length);
  const pod = await cluster.read<Pod>('-n', 'agents', 'pod', 'native');
  assert.equal(pod.spec.initContainers?.[0]?.restartPolicy, 'Always');
});

test('the API server accepts a classic sidecar in every workload that does not run to completion', async () => {
  const classic = workloads('classic').slice(0, 5);
  assert.equal((await injectAndCreate(classic, `${FLAGS} --sidecar classic`)).length, classic.length);
});

test('the API server warns neither of the port that callers use nor of low limits', async () => {
  const deployment = agentDeployment({ name: 'inbound', namespace: 'agents' });
  Object.assign(deployment.spec.template.spec.containers[0] ?? {}, { ports: [{ name: 'http', containerPort: 8080 }] });
  const flags = `${FLAGS} --inbound 8080 --memory-limit 48Mi --cpu-limit 20m`;
  assert.deepEqual(await injectAndCreate([deployment], flags), ['deployment.apps/inbound']);
});

test('a running Deployment is the same after inject and uninject, defaults included', async () => {
  await cluster.create(agentDeployment({ name: 'round-trip', namespace: 'agents' }));
  const read = () => cluster.read<Deployment>('-n', 'agents', 'deployment', 'round-trip');
  const get = 'kubectl -n agents get deployment round-trip -o yaml';
  const before = await read();
  await cluster.run(`${get} | cambist inject ${FLAGS} - | kubectl apply -f -`);
  const injected = (await read()).spec.template.spec;
  assert.deepEqual(namesOf(injected.initContainers), ['cambist']);
  await cluster.run(`${get} | cambist uninject - | kubectl apply -f -`);
  assert.deepEqual((await read()).spec, before.spec);
});

const HOSTS = '--intercept-hosts mcp.example.com,jira.example.com --redirect-image r/cambist-redirect:0.1.0';
const OWN = { hostAliases: [{ ip: '127.0.0.1', hostnames: ['own.example.com'] }] };

for (const way of ['proxy', 'names']) {
  test(`${way}: the API server accepts the injected pod under the restricted standard`, async () => {
    const created = await injectAndCreate([agentPod(way, {}, OWN)], `${FLAGS} ${HOSTS} --intercept ${way}`);
    assert.deepEqual(created, [`pod/${way}`]);
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
      const inject = `cambist inject ${FLAGS} ${HOSTS} --intercept ${way} before.json`;
      await cluster.run(`${inject} > injected.json && ${apply} -f injected.json`);
      assert.deepEqual(namesOf((await read()).spec.template.spec.initContainers), ['cambist']);
      await cluster.run(`cambist uninject injected.json | ${apply} -f -`);
      assert.deepEqual((await read()).spec, before.spec);
    }
  });
}

test('packets: the restricted and the baseline standard refuse the pod, a privileged namespace accepts it', async () => {
  const flags = `${FLAGS} ${HOSTS} --intercept packets`;
  for (const [namespace, standard] of [
    ['agents', 'restricted'],
    ['baseline', 'baseline'],
  ] as const) {
    const refused = failed(await attempt([agentPod('packets', { namespace })], flags));
    assert.match(refused, new RegExp(`violates PodSecurity "${standard}:latest".*"cambist-redirect".*NET_ADMIN`));
  }
  assert.deepEqual(await injectAndCreate([agentPod('packets', { namespace: 'privileged' })], flags), ['pod/packets']);
});

test('the guide injects from a file and from the cluster, and uninjects', async () => {
  await cluster.write('agent.yaml', stringify(agentDeployment({ name: 'agent' })));
  await cluster.run(guideScript('cambist init --pod').split('\n')[1] ?? '');
  await cluster.run('cambist inject --image r/cambist:1 agent.yaml >agent-injected.yaml');
  await cluster.follow('cambist uninject');
  const { spec } = await cluster.read<Deployment>('deployment', 'agent');
  const images = spec.template.spec.initContainers?.map(({ image }) => image);
  assert.deepEqual(images, ['registry.example.com/cambist:0.1.0']);
});
