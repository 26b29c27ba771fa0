import assert from 'node:assert/strict';
import { connect } from 'node:net';
import type { TestContext } from 'node:test';
import { stringify } from 'yaml';
import { eventually } from '../../harness/eventually.ts';
import { installWebhook } from '../cluster/cluster.ts';
import { agentPod, type Metadata, OPTED_IN, type Service, succeeded } from '../cluster/objects.ts';
import { httpClient, type Kind } from './callers.ts';
import { AGENT_IMAGE, IMAGE, idp, kubectl, node, run } from './node.ts';

/** Namespaces and pods on the node. */

interface ContainerStatus {
  readonly name: string;
  readonly containerID: string;
  readonly restartCount: number;
  readonly ready: boolean;
  readonly lastState: { readonly terminated?: { readonly reason: string } };
}

interface RunningPod {
  readonly metadata: { readonly uid: string };
  readonly status: {
    readonly podIP: string;
    readonly initContainerStatuses?: readonly ContainerStatus[];
    readonly containerStatuses?: readonly ContainerStatus[];
  };
}

/** Longer than a sidecar takes to start with little CPU. */
const READY_MS = 90_000;

/** Creates a namespace with the Secret of cambist. Its pods are killed after `t`. */
export async function createNamespace(
  t: TestContext,
  name: string,
  { standard = 'restricted', secret = {} }: { standard?: string; secret?: Readonly<Record<string, string>> } = {},
): Promise<void> {
  t.after(() => run(`kubectl delete namespace ${name} --wait=false`));
  const labels = { 'pod-security.kubernetes.io/enforce': standard };
  const stringData = { 'client-secret': 'a-secret', ...secret };
  const items = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } },
    { apiVersion: 'v1', kind: 'Secret', metadata: { namespace: name, name: 'cambist' }, stringData },
  ];
  succeeded(await kubectl(['create', '--validate=strict', '-f', '-'], { apiVersion: 'v1', kind: 'List', items }));
}

/** Deletes namespaces, and waits. The namespace controller looks for remaining pods again only after half of their grace period. */
export async function deleteNamespaces(...names: readonly string[]): Promise<void> {
  const remove = (name: string) =>
    run(`kubectl -n ${name} delete deployments,replicasets,pods --all --now
    kubectl delete namespace ${name}`);
  await Promise.all(names.map(remove));
}

/** The config of a sidecar, with one route. */
export function sidecarConfig(more: object = {}, match: object = { path: '/github' }): string {
  const client_secret = { file: '/var/run/secrets/cambist/client-secret' };
  return stringify({
    version: 1,
    admin: '0.0.0.0:9180',
    authorization_servers: {
      idp: { issuer: idp.issuer, client_id: 'cambist', client_auth: { method: 'client_secret_basic', client_secret } },
    },
    routes: [{ name: 'github', match, upstream: 'https://github-mcp.example.com/mcp' }],
    ...more,
  });
}

/** Stops as servers do: accepts no new connection, and closes those that are idle. Responds with the token. */
export const SERVER = `const { createServer } = require('node:http');
const server = createServer((request, response) => {
  setTimeout(() => response.end(request.headers.authorization), request.url === '/slow' ? 3000 : 0);
});
server.listen(process.env.PORT);
process.on('SIGTERM', () => server.close());`;

export const INBOUND = {
  listen: '0.0.0.0:8080',
  agent: 'http://127.0.0.1:8081',
  verify: { issuer: idp.issuer, audience: 'cambist' },
};

/** A program that waits, and exits when it is told to. */
export const IDLE = "process.on('SIGTERM', process.exit); setInterval(() => {}, 1e6)";

/** A pod of the agent's image that runs a program on Node. */
export function nodePod(name: string, { container = {}, ...metadata }: Metadata & { container?: object } = {}) {
  const pod = agentPod(name, metadata);
  const containers = pod.spec.containers.map((agent) => ({
    ...agent,
    image: AGENT_IMAGE,
    command: ['node', '-e', IDLE],
    ...container,
  }));
  return { ...pod, spec: { ...pod.spec, containers } };
}

let webhook: Promise<void> | undefined;

/** Installs the webhook, once for all tests. */
export function installedWebhook(): Promise<void> {
  webhook ??= installWebhook(node).then(async () => {
    await run('kubectl -n cambist-system rollout status deployment/cambist-webhook --timeout=120s');
    await addressOf('cambist-system', 'cambist-webhook');
  });
  return webhook;
}

/** Creates pods that the webhook must inject, and that are not stored. */
export function podCreation(namespace: string): Kind {
  const { url, ca, token } = node.apiServer;
  const target = {
    url: `${url}/api/v1/namespaces/${namespace}/pods?dryRun=All`,
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(agentPod('agent', { namespace, labels: OPTED_IN })),
    tls: { ca, servername: 'kubernetes.default.svc' },
    status: 201,
  };
  const isInjected = (text: string) => assert.match(text, /cambist\.dev\/status/);
  return { clients: 6, pauseMs: 100, client: httpClient(target, true, isInjected) };
}

/** Injects a manifest by the command line, and applies it. */
export async function inject(
  namespace: string,
  manifest: { readonly metadata: object; readonly [key: string]: unknown },
  config: string,
  flags = '',
): Promise<void> {
  const files = [`${namespace}-config.yaml`, `${namespace}.yaml`] as const;
  await node.write(files[0], config);
  await node.write(files[1], stringify({ ...manifest, metadata: { ...manifest.metadata, namespace } }));
  await run(
    `cambist inject --image ${IMAGE} --config ${files[0]} --secret cambist ${flags} ${files[1]} | kubectl -n ${namespace} apply -f -`,
  );
}

export async function waitUntilReady(namespace: string, ...names: readonly string[]): Promise<void> {
  await run(`kubectl -n ${namespace} wait --for=condition=Ready pod ${names.join(' ')} --timeout=${READY_MS}ms`);
}

/** Runs a command in the agent's container. @returns its output */
export function inAgent(namespace: string, pod: string, command: string): Promise<string> {
  return run(`kubectl -n ${namespace} exec ${pod} -c agent -- ${command}`);
}

export async function statusOf(namespace: string, pod: string, container: string) {
  const { metadata, status } = await node.read<RunningPod>('-n', namespace, 'pod', pod);
  const found = [...(status.initContainerStatuses ?? []), ...(status.containerStatuses ?? [])];
  const own = found.find(({ name }) => name === container);
  return { uid: metadata.uid, podIP: status.podIP, ...own } as ContainerStatus & { uid: string; podIP: string };
}

/** Waits until a container has restarted and is ready. */
export async function restarted(namespace: string, pod: string, container: string): Promise<void> {
  const isBack = async () => {
    const { restartCount, ready } = await statusOf(namespace, pod, container);
    return restartCount > 0 && ready;
  };
  await eventually(`${container} of ${pod} has restarted`, isBack, READY_MS, 200);
}

/** Waits until kube-proxy forwards the ports of a Service, which it does a while after the pods are ready. */
export async function addressOf(namespace: string, service: string): Promise<string> {
  const { clusterIP, ports } = (await node.read<Service>('-n', namespace, 'service', service)).spec;
  for (const { port } of ports) {
    const isForwarded = () =>
      new Promise<boolean>((resolve) => {
        const socket = connect(port, clusterIP, () => {
          resolve(true);
          socket.destroy();
        });
        socket.on('error', () => resolve(false));
      });
    await eventually(`port ${port} of ${service} is forwarded`, isForwarded, READY_MS, 200);
  }
  return clusterIP;
}
