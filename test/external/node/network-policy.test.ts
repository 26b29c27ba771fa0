import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { eventually } from '../../harness/eventually.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { IMAGE, kubectl, node, run } from './node.ts';
import { createNamespace, INBOUND, inject, nodePod, sidecarConfig, statusOf, waitUntilReady } from './pods.ts';

const [policy = ''] = fencedBlocks(readFileSync('deploy/operations.md', 'utf8'), 'yaml');
const NAMESPACE = 'policies';
const OTHER = 'monitoring';
const name = (value: string) => ({ 'app.kubernetes.io/name': value });
/** Listens on the port of `PORT`, and on another. */
const LISTENING = `for (const port of [9999, process.env.PORT]) {
  require('node:http').createServer((request, response) => response.end()).listen(port);
}`;
const container = { command: ['node', '-e', LISTENING] };
const at8080 = { ...container, env: [{ name: 'PORT', value: '8080' }] };

test('NetworkPolicies of the pages let through what the pages say, and nothing else', async (t) => {
  for (const namespace of [NAMESPACE, OTHER]) await createNamespace(t, namespace);
  await inject(NAMESPACE, nodePod('agent', { labels: name('agent'), container: at8080 }), sidecarConfig());
  const inbound = nodePod('inbound', {
    labels: name('inbound'),
    container: { ...container, ports: [{ containerPort: 8080 }] },
  });
  const plain = [
    nodePod('docs', { namespace: NAMESPACE, labels: name('docs-mcp'), container: at8080 }),
    nodePod('caller', { namespace: NAMESPACE, labels: { 'cambist.dev/gateway': 'enabled' } }),
    nodePod('monitor', { namespace: OTHER }),
  ];
  await node.write('policies.yaml', plain.map((pod) => stringify(pod)).join('---\n'));
  await node.write('policy.yaml', policy);
  await node.write(
    'with-inbound.yaml',
    stringify({ ...inbound, metadata: { ...inbound.metadata, namespace: NAMESPACE } }),
  );
  await node.write('with-inbound-config.yaml', sidecarConfig({ inbound: INBOUND }));
  await run(`kubectl apply -f policies.yaml
    cambist inject --image ${IMAGE} --config with-inbound-config.yaml --config-map inbound --secret cambist with-inbound.yaml 2>said |
      kubectl apply -f -
    kubectl kustomize deploy/gateway/base | sed 's/replicas: 2/replicas: 1/' | kubectl -n ${NAMESPACE} apply -f -`);
  await waitUntilReady(NAMESPACE, 'agent', 'inbound', 'docs', 'caller');
  await waitUntilReady(OTHER, 'monitor');
  await run(`kubectl -n ${NAMESPACE} rollout status deployment/cambist-gateway`);
  const gatewayPod = await run(
    `kubectl -n ${NAMESPACE} get pod -l app.kubernetes.io/name=cambist-gateway -o jsonpath='{.items[0].metadata.name}'`,
  );

  const addresses: Record<string, string> = { gateway: (await statusOf(NAMESPACE, gatewayPod, 'cambist')).podIP };
  for (const pod of ['agent', 'inbound', 'docs']) addresses[pod] = (await statusOf(NAMESPACE, pod, 'agent')).podIP;
  /** Calls as a pod. @returns the status, or 000 without a connection */
  const call = async (pod: string, target: string): Promise<string> => {
    const url = target.replace(/^\w+/, (host) => addresses[host] ?? host);
    const namespace = pod === 'monitor' ? OTHER : NAMESPACE;
    const curl = ['curl', '-sk', '-m', '3', '-o', '/dev/null', '-w', '%{http_code}', url];
    return (await kubectl(['-n', namespace, 'exec', pod, '-c', 'agent', '--', ...curl])).stdout;
  };
  const become = (connections: Readonly<Record<string, string>>) => {
    const of = async (calls: string) => [calls, await call(...(calls.split(' -> ') as [string, string]))];
    let last = {};
    return eventually(
      'the connections',
      async () => {
        last = Object.fromEntries(await Promise.all(Object.keys(connections).map(of)));
        return JSON.stringify(last) === JSON.stringify(connections);
      },
      30_000,
      500,
    ).catch(() => assert.deepEqual(last, connections));
  };
  await become({
    'caller -> gateway:8180/github': '403',
    'docs -> gateway:8180/github': '000',
    'caller -> gateway:9180/livez': '000',
    'monitor -> gateway:9180/livez': '200',
    'docs -> agent:9999': '200',
    'docs -> inbound:8080': '401',
    'docs -> inbound:8081': '200',
  });
  await run(
    `kubectl -n ${NAMESPACE} apply -f policy.yaml; sed -n '/^apiVersion/,$p' said | kubectl -n ${NAMESPACE} apply -f -`,
  );
  await become({
    // DNS, and the port of the authorization server and the backends.
    'agent -> https://github-mcp.example.com': '401',
    'agent -> docs:8080': '200',
    'agent -> docs:9999': '000',
    'docs -> agent:8080': '200',
    'docs -> agent:9999': '000',
    'docs -> agent:9180/livez': '000',
    'monitor -> agent:9180/livez': '200',
    'docs -> inbound:8080': '401',
    'docs -> inbound:8081': '000',
  });
});
