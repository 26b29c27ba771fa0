import assert from 'node:assert/strict';
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { decodeJwt } from 'jose';
import { Agent, request } from 'undici';
import { createCertificateAuthority } from '../../harness/certificates.ts';
import { startDnsServer } from '../../harness/dns-server.ts';
import { eventually } from '../../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { echo, respond, startFakeUpstream, type UpstreamHandler } from '../../harness/fake-upstream.ts';
import { runProgram } from '../../harness/run-command.ts';
import { type ServerOptions, startServer } from '../../harness/server-process.ts';
import { acceptWebSocket } from '../../harness/web-socket-server.ts';
import { startCluster } from '../cluster/cluster.ts';
import { succeeded } from '../cluster/objects.ts';
import { installContainerd, installDeployTools } from '../installs.ts';
import { startFirewall } from './firewall.ts';
import { containerdConfig, kubeletConfig, kubeProxyConfig, podNetwork } from './node-config.ts';

/** A node of Kubernetes in the namespaces of `inside.sh`, with servers outside of the cluster. All tests of a run share it. */

/** `inside.sh` gives these addresses to the node, and to servers outside. */
const NODE = '10.99.0.1';
const ADDRESSES: Readonly<Record<string, string>> = {
  node: NODE,
  'idp.example.com': '10.99.0.2',
  'github-mcp.example.com': '10.99.0.3',
  'ledger-mcp.example.com': '10.99.0.4',
};
const SERVICES = '10.96.0.0/16';
/** The folder of `inside.sh`, which removes it at the end. */
const FOLDER = process.env.NODE_FOLDER ?? '';
const KUBERNETES = '10.96.0.1';
const START_TIMEOUT_MS = 120_000;
/** Tests of rollouts send many. */
const KEPT_REQUESTS = 1000;
const POD_SHARES = 2048;
const SLOW_MS = 3000;
const EVENT_MS = 250;
export const EVENTS = 12;

/** The image of the Dockerfile. */
export const PLAIN_IMAGE = 'localhost/cambist:test';
/** The same one with `CA`, as the pages name it. */
export const IMAGE = 'registry.example.com/cambist:0.1.0';
export const AGENT_IMAGE = 'localhost/agent:test';
export const REDIRECT_IMAGE = 'registry.example.com/cambist-redirect:0.1.0';
const OTHER_IMAGES = [
  REDIRECT_IMAGE,
  'registry.example.com/agent:1.0.0',
  'docker.io/curlimages/curl:8.17.0',
  'docker.io/valkey/valkey:8.1',
];

export const authority = createCertificateAuthority('outside');
/** Issued the certificates of the servers outside. */
export const CA = authority.cert;

export const node = await startNode();
export const { run, kubectl } = node;
/** Outside of the cluster: an authorization server, and backends that echo to callers with a token. */
export const idp = await startFakeAuthorizationServer(
  { after },
  { ...at('idp.example.com'), issuerPath: '/realms/agents' },
);
idp.behaviour = ({ form }) =>
  form.get('subject_token')?.split('.').length === 3
    ? { kind: 'issue' }
    : { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
export const github = await startBackend('github-mcp.example.com');
export const ledger = await startBackend('ledger-mcp.example.com');

/** The last request that a backend got for a caller's token. Other tests use the backends at the same time. */
export function receivedFor(token: string, backend = github) {
  const exchanges = idp.requests.filter(({ form }) => form.get('subject_token') === token);
  const bearers = exchanges.map(({ issued }) => `Bearer ${issued}`);
  const request = backend.requests.findLast(({ authorization: [bearer = ''] }) => bearers.includes(bearer));
  assert.ok(request, 'the backend got no token of this caller');
  return { ...decodeJwt(request.authorization[0] ?? ''), headers: request.headers };
}

/** Responds late at `/slow`, and with events at `/events` and `/endless`. Echoes elsewhere, and to texts of a WebSocket. */
async function startBackend(name: string) {
  const refuse = respond(401, '', { 'www-authenticate': 'Bearer' });
  const handler: UpstreamHandler = async (request, response) => {
    backend.requests.splice(0, backend.requests.length - KEPT_REQUESTS);
    if (request.authorization.length === 0) return refuse(request, response);
    const [path = ''] = /[^/]*$/.exec(request.url) ?? [];
    if (path === 'slow') await delay(SLOW_MS);
    if (!['events', 'endless'].includes(path)) return echo(request, response);
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    for (let sent = 0; !response.destroyed && (path === 'endless' || sent < EVENTS); sent += 1) {
      response.write(`data: ${sent}\n\n`);
      await delay(EVENT_MS);
    }
    response.end();
  };
  const backend = await startFakeUpstream({ after }, handler, {
    ...at(name),
    upgrade: (request, socket) =>
      acceptWebSocket(
        request,
        socket.on('error', () => socket.destroy()),
      ),
  });
  return backend;
}

function at(name: string) {
  const tls = authority.issueServer({ hosts: [name] });
  return { tls, port: 443, at: { address: ADDRESSES[name] ?? '', origin: `https://${name}` } };
}

async function startNode() {
  const [containerd, deployTools] = [await installContainerd(), await installDeployTools()];
  await startContainerd(containerd);
  const [cluster] = await Promise.all([startKubernetes(`${deployTools}:${containerd}`), importImages(containerd)]);
  await cluster.run('kubectl wait --for=condition=Ready node node --timeout=60s');
  await startFirewall(cluster, join(containerd, 'kube-router'), NODE);
  return cluster;
}

async function startContainerd(containerd: string): Promise<void> {
  await mkdir(join(FOLDER, 'cni'));
  await writeFile(join(FOLDER, 'cni/node.conflist'), podNetwork());
  await writeFile(join(FOLDER, 'containerd.toml'), containerdConfig(FOLDER, AGENT_IMAGE));
  await startServer({
    command: 'containerd',
    args: ['--config', 'containerd.toml'],
    env: { PATH: pathWith(containerd) },
    cwd: FOLDER,
    readyUrl: 'http://127.0.0.1:1338/v1/metrics',
    startTimeoutMs: START_TIMEOUT_MS,
  });
}

function pathWith(folder: string): string {
  return `${folder}:${process.env.PATH}`;
}

/** Copies the images of `build.sh` to the node. That of cambist gets `CA`, as a company's base image does. */
async function importImages(containerd: string): Promise<void> {
  await mkdir(join(FOLDER, 'image'));
  await writeFile(join(FOLDER, 'image/ca.pem'), CA);
  await writeFile(
    join(FOLDER, 'image/Containerfile'),
    `FROM ${PLAIN_IMAGE}\nCOPY ca.pem /\nENV NODE_EXTRA_CA_CERTS=/ca.pem\n`,
  );
  const images = [IMAGE, PLAIN_IMAGE, AGENT_IMAGE, ...OTHER_IMAGES].join(' ');
  const script = `podman build --quiet --pull=never --layers=false --tag ${IMAGE} image
    podman save --quiet --multi-image-archive ${images} | ctr --namespace k8s.io images import -
    podman rmi ${IMAGE}`;
  const options = { env: { PATH: pathWith(containerd) }, cwd: FOLDER };
  succeeded(await runProgram('bash', ['-euo', 'pipefail', '-c', script], options));
}

async function startKubernetes(path: string) {
  const cluster = await startCluster({
    network: {
      address: NODE,
      services: SERVICES,
      hosts: [KUBERNETES, 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local'],
      issuer: 'https://kubernetes.default.svc.cluster.local',
    },
    path,
  });
  const { folder, programs, run } = cluster;
  const file = (name: string): string => join(folder, name);
  const kubeconfig = `--kubeconfig=${file('kubeconfig')}`;
  const start = (name: string, args: readonly string[], readyUrl: string, more: Partial<ServerOptions> = {}) =>
    startServer({
      command: join(programs, name),
      args,
      readyUrl,
      cwd: folder,
      startTimeoutMs: START_TIMEOUT_MS,
      ...more,
    });
  /** Starts a part of the control plane. */
  const control = (name: string, port: number, ...args: readonly string[]) => {
    const tls = [`--tls-cert-file=${file('local.crt')}`, `--tls-private-key-file=${file('local.key')}`];
    const all = [kubeconfig, '--leader-elect=false', ...tls, ...args];
    return start(name, all, `https://127.0.0.1:${port}/healthz`, { ca: CA });
  };

  const local = authority.issueServer();
  for (const [name, content] of Object.entries({
    'kubelet.json': kubeletConfig(NODE),
    'kube-proxy.json': kubeProxyConfig(file('kubeconfig')),
    'local.crt': local.cert,
    'local.key': local.key,
  })) {
    await writeFile(file(name), content);
  }
  await copyFile(join(import.meta.dirname, 'docker.sh'), file('bin/docker'));
  const kubelet = [kubeconfig, `--config=${file('kubelet.json')}`, '--hostname-override=node', `--node-ip=${NODE}`];
  await Promise.all([
    control('kube-scheduler', 10259),
    control(
      'kube-controller-manager',
      10257,
      `--service-account-private-key-file=${file('tls.key')}`,
      `--root-ca-file=${file('ca.crt')}`,
    ),
    start('kubelet', kubelet, 'http://127.0.0.1:10248/healthz'),
    start('kube-proxy', [`--config=${file('kube-proxy.json')}`], 'http://127.0.0.1:10256/healthz'),
    startDnsServer(lookUp, { address: NODE }),
  ]);
  // The node says that it has more processors than the machine. Its pods compete with the other programs as if it had two.
  await run(`echo ${POD_SHARES} | tee /sys/fs/cgroup/cpu*/kubepods/cpu.shares`);
  await eventually('the node exists', async () => (await cluster.kubectl(['get', 'node', 'node'])).code === 0);
  return cluster;

  /** Replaces CoreDNS. */
  async function lookUp(name: string): Promise<string | undefined> {
    const [, service, namespace] = /^([^.]+)\.([^.]+)\.svc\.cluster\.local$/.exec(name) ?? [];
    if (service === undefined) return ADDRESSES[name];
    const { url, ca, token } = cluster.apiServer;
    const { body } = await request(`${url}/api/v1/namespaces/${namespace}/services/${service}`, {
      headers: { authorization: `Bearer ${token}` },
      dispatcher: new Agent({ connect: { ca } }),
    });
    return ((await body.json()) as { readonly spec?: { readonly clusterIP: string } }).spec?.clusterIP;
  }
}
