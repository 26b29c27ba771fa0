import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { TLSSocket } from 'node:tls';
import { parse } from 'yaml';
import { runCommand } from './run-command.ts';

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
  readonly periodSeconds: number;
  readonly failureThreshold?: number;
}

/** The fields of an injected container that a kubelet acts on. */
export interface InjectedContainer {
  readonly name: string;
  readonly restartPolicy?: string;
  readonly ports: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe: Probe;
  readonly readinessProbe: Probe;
  readonly livenessProbe: Probe;
  readonly lifecycle?: { readonly preStop: { readonly exec: { readonly command: readonly [string, ...string[]] } } };
}

interface InjectedPod {
  readonly terminationGracePeriodSeconds: number;
  readonly initContainers?: readonly InjectedContainer[];
  readonly containers: readonly InjectedContainer[];
}

/** The manifest of an agent, with comments and flow style. */
export const AGENT_MANIFEST = `# the agent
apiVersion: apps/v1
kind: Deployment
metadata: { name: agent } # its name
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec:
      containers:
      - name: agent
        image: agent:1
`;

const AGENT = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'agent' } };

export async function injectPod(flags: readonly string[], spec: object = {}): Promise<InjectedPod> {
  const pod = { ...AGENT, spec: { containers: [{ name: 'agent', image: 'agent:1' }], ...spec } };
  const args = ['inject', '--image', 'cambist:0.1.0', ...flags, '-'];
  const { code, stdout, stderr } = await runCommand(args, { input: JSON.stringify(pod) });
  if (code !== 0) throw new Error(`inject exited with ${code}: ${stderr}`);
  return (parse(stdout) as { spec: InjectedPod }).spec;
}

/** Probes once, as a kubelet does: a status from 200 to 399 is a success, and no response a failure. */
export async function probe({ ports }: InjectedContainer, { httpGet }: Probe): Promise<boolean> {
  const port = ports.find(({ name }) => name === httpGet.port)?.containerPort;
  const response = await fetch(`http://127.0.0.1:${port}${httpGet.path}`).catch(() => undefined);
  await response?.arrayBuffer();
  return response !== undefined && response.status >= 200 && response.status < 400;
}

/** Waits until a kubelet would start the next container. @throws Error if it would restart this one */
export async function startedUp(container: InjectedContainer): Promise<void> {
  const { periodSeconds, failureThreshold = 3 } = container.startupProbe;
  for (let failures = 0; failures < failureThreshold; failures += 1) {
    if (await probe(container, container.startupProbe)) return;
    await delay(periodSeconds * 1000);
  }
  throw new Error(`"${container.name}" has not started up`);
}

/** Runs the hook that precedes SIGTERM. @returns its exit code */
export async function preStop({ lifecycle }: InjectedContainer): Promise<number> {
  const [command, ...args] = lifecycle?.preStop.exec.command ?? ['true'];
  const [code] = (await once(spawn(command, args, { stdio: 'inherit' }), 'exit')) as [number];
  return code;
}

interface WebhookResponse {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The serial number of the server's certificate. */
  readonly serial: string;
}

interface WebhookCall {
  readonly url: string;
  /** The only trusted certificate, as PEM. */
  readonly ca: string;
  readonly body: string;
  readonly contentType?: string;
  readonly method?: string;
}

/** Calls a webhook as the API server does, over verified TLS on a new connection. */
export function callWebhook({ url, ca, body, contentType = 'application/json', method = 'POST' }: WebhookCall) {
  return new Promise<WebhookResponse>((resolve, reject) => {
    const headers = { 'content-type': contentType, 'content-length': Buffer.byteLength(body) };
    const call = request(url, { method, ca, headers, agent: false, servername: 'localhost' }, (response) => {
      const socket = response.socket as TLSSocket;
      const serial = socket.getPeerCertificate().serialNumber;
      const { statusCode: status = 0, headers: received } = response;
      text(response).then((content) => resolve({ status, headers: received, body: content, serial }), reject);
    });
    call.on('error', reject);
    call.end(body);
  });
}

/** An AdmissionReview of the creation of a pod, as the API server sends it. */
export function podReview(pod: object): string {
  const kind = { group: '', version: 'v1', kind: 'Pod' };
  const resource = { group: '', version: 'v1', resource: 'pods' };
  return JSON.stringify({
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
      kind,
      resource,
      operation: 'CREATE',
      namespace: 'agents',
      object: pod,
    },
  });
}

/** A pod that opted in. */
export const OPTED_IN = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { generateName: 'agent-', labels: { 'cambist.dev/inject': 'enabled' } },
  spec: { containers: [{ name: 'agent', image: 'agent:1' }] },
};
