import type { IncomingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import type { TLSSocket } from 'node:tls';

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

interface WebhookCall {
  readonly url: string;
  /** The only trusted certificate, as PEM. */
  readonly ca: string;
  readonly body: string;
  readonly contentType?: string;
  readonly method?: string;
}

/** Calls a webhook as the API server does, over verified TLS on a new connection. `serial` is the number of the server's certificate. */
export function callWebhook({ url, ca, body, contentType = 'application/json', method = 'POST' }: WebhookCall) {
  return new Promise<{ status: number; headers: IncomingHttpHeaders; body: string; serial: string }>(
    (resolve, reject) => {
      const headers = { 'content-type': contentType, 'content-length': Buffer.byteLength(body) };
      const call = request(url, { method, ca, headers, agent: false, servername: 'localhost' }, (response) => {
        const socket = response.socket as TLSSocket;
        const serial = socket.getPeerCertificate().serialNumber;
        const { statusCode: status = 0, headers: received } = response;
        text(response).then((content) => resolve({ status, headers: received, body: content, serial }), reject);
      });
      call.on('error', reject);
      call.end(body);
    },
  );
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
