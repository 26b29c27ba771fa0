import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { parseAllDocuments, stringify } from 'yaml';
import { startCheckClient } from '../../harness/check-client.ts';
import { eventually } from '../../harness/eventually.ts';
import { assertProblem, call, connectRaw, open } from '../../harness/http-call.ts';
import { callThroughout, httpClient, httpClients, type Kinds, rollOut, type Target } from './callers.ts';
import { authority, CA, EVENTS, idp, node, run } from './node.ts';
import {
  addressOf,
  createNamespace,
  INBOUND,
  inject,
  installedWebhook,
  nodePod,
  podCreation,
  SERVER,
  sidecarConfig,
} from './pods.ts';

/** One in CI. */
const ROLLOUTS = Number(process.env.NODE_ROLLOUTS ?? 1);
const HOST = 'cambist-gateway.agents.svc';
const token = await idp.mint();
const authorization = { host: HOST, authorization: `Bearer ${token}` };

async function assertNothingLost(t: TestContext, kinds: Kinds, namespace: string, deployment: string): Promise<void> {
  const { failures, sent } = await callThroughout(kinds, async () => {
    for (let count = 0; count < ROLLOUTS; count += 1) await rollOut(namespace, deployment);
  });
  t.diagnostic(`sent: ${JSON.stringify(sent)}`);
  assert.deepEqual(failures, []);
}

/** Requests that take a while, and streams that end within the grace period. */
function longClients(target: Target): Kinds {
  const { url } = target;
  const isWhole = (text: string) => assert.equal(text.split('\n\n').length, EVENTS + 1);
  return {
    'long responses': { clients: 3, pauseMs: 50, client: httpClient({ ...target, url: `${url}/slow` }) },
    streams: { clients: 3, pauseMs: 50, client: httpClient({ ...target, url: `${url}/events` }, true, isWhole) },
  };
}

test('a rollout of the gateway loses no request', async (t) => {
  await createNamespace(t, 'gateway');
  await run(`kubectl -n gateway apply -k deploy/gateway/base
    kubectl -n gateway rollout status deployment/cambist-gateway`);
  const origin = `http://${await addressOf('gateway', 'cambist-gateway')}:8180`;
  const url = `${origin}/github`;
  for (const [code, headers] of [
    ['ERR_SUBJECT_TOKEN_MISSING', { host: HOST }],
    ['ERR_ROUTE_NOT_FOUND', { ...authorization, host: 'another' }],
  ] as const) {
    assertProblem(await call(url, { headers }), code);
  }
  const stream = await open(`${url}/endless`, { headers: authorization });
  stream.on('error', () => {}).resume();
  const streamClosed = new Promise((resolve) => stream.once('close', resolve));
  const socket = await connectRaw(origin);
  const lines = [
    'GET /github/socket HTTP/1.1',
    'Connection: Upgrade',
    'Upgrade: websocket',
    'Sec-WebSocket-Version: 13',
  ];
  const headers = Object.entries(authorization).map((entry) => entry.join(': '));
  socket.send([...lines, 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', ...headers, '', ''].join('\r\n'));
  await socket.until('101');
  const say = (word: string) => socket.send(Buffer.from(`\x81\x85\0\0\0\0${word}`, 'latin1'));
  say('hello');
  await socket.until('hello');
  const lastWords = run(`kubectl -n gateway logs -f -l app.kubernetes.io/name=cambist-gateway | grep 'grace elapsed'`);
  const kinds = { ...httpClients({ url, headers: authorization }), ...longClients({ url, headers: authorization }) };
  await assertNothingLost(t, kinds, 'gateway', 'cambist-gateway');
  assert.match(await lastWords, /"open_streams":[12].*shutdown grace elapsed; closing requests in flight/);
  await streamClosed;
  await socket.closed();
});

test('a rollout of the gateway loses no request by TLS, and no decision', async (t) => {
  const [namespace, secret] = ['gateway-agents', 'the-secret-of-the-data-plane'];
  await createNamespace(t, namespace, { secret: { decisions: secret } });
  const { cert, key } = authority.issueServer({ hosts: [HOST] });
  await node.write('tls.crt', cert);
  await node.write('tls.key', key);
  await run(`kubectl -n ${namespace} create secret tls cambist-gateway-tls --cert tls.crt --key tls.key
    kubectl -n ${namespace} create serviceaccount billing`);
  const agentToken = (await run(`kubectl -n ${namespace} create token billing --audience cambist`)).trim();
  const objects = parseAllDocuments(await run('kubectl kustomize deploy/gateway/agents')).map((each) => each.toJS());
  const config = objects.find(({ kind }) => kind === 'ConfigMap').data;
  const file = '/var/run/secrets/cambist/decisions';
  const [http, grpc] = [8182, 8183].map((port) => ({ listen: `0.0.0.0:${port}`, secret: { file } }));
  // Another test creates and deletes the namespace of the page.
  const ofAgent = config['cambist.yaml'].replace('team-a/billing', `${namespace}/billing`);
  config['cambist.yaml'] = ofAgent + stringify({ decisions: { http, grpc } });
  const ports = [8180, 8182, 8183].map((port) => ({ name: `port-${port}`, port }));
  objects.find(({ kind }) => kind === 'Service').spec.ports = ports;
  await node.write('gateway-agents.yaml', objects.map((each) => stringify(each)).join('---\n'));
  await run(`kubectl -n ${namespace} apply -f gateway-agents.yaml
    kubectl -n ${namespace} rollout status deployment/cambist-gateway`);

  const address = await addressOf(namespace, 'cambist-gateway');
  const headers = { ...authorization, 'x-agent-token': agentToken };
  const target = { url: `https://${address}:8180/ledger`, headers, tls: { ca: CA, servername: HOST } };
  const asked = { ...headers, 'x-cambist-decision-secret': secret };
  const decision = { url: `http://${address}:8182/ext-authz/ledger`, headers: asked };
  const prefixed = ([name, { clients, ...kind }]: [string, Kinds[string]]) =>
    [`decisions, ${name}`, { ...kind, clients: Math.ceil(clients / 2) }] as const;
  await assertNothingLost(
    t,
    {
      ...httpClients(target),
      ...longClients(target),
      ...Object.fromEntries(Object.entries(httpClients(decision)).map(prefixed)),
      'decisions by gRPC': {
        clients: 8,
        pauseMs: 20,
        client: () => {
          const client = startCheckClient(t, `${address}:8183`, { 'grpc.enable_retries': 0 });
          const sent = Object.entries(headers);
          return async () => {
            const check = { headers: sent, context: [['route', 'ledger']] as const };
            const { isAllowed, body } = await client.check(check, { 'x-cambist-decision-secret': secret });
            assert.ok(isAllowed, body);
          };
        },
      },
    },
    namespace,
    'cambist-gateway',
  );
});

test('a rollout of the webhook and a new certificate refuse no pod', async (t) => {
  await installedWebhook();
  await createNamespace(t, 'pods');
  await assertNothingLost(t, { pods: podCreation('pods') }, 'cambist-system', 'cambist-webhook');

  // Renews the certificate, as its page says.
  const { failures } = await callThroughout({ pods: podCreation('pods') }, async () => {
    await node.follow('gen-certs --trust old-ca.crt');
    const logs = 'kubectl -n cambist-system logs -l app.kubernetes.io/name=cambist-webhook --tail=-1';
    await eventually(
      'both pods have the certificate',
      async () => (await run(logs)).match(/certificate reloaded/g)?.length === 2,
      120_000,
      1000,
    );
  });
  assert.deepEqual(failures, []);
});

test('a rollout of agents behind inbound loses no request of a caller', async (t) => {
  await createNamespace(t, 'inbound');
  const labels = { 'app.kubernetes.io/name': 'agent' };
  const container = {
    command: ['node', '-e', SERVER],
    ports: [{ name: 'http', containerPort: 8080 }],
    readinessProbe: { httpGet: { path: '/', port: 'http' }, periodSeconds: 1 },
    // Longer than on the page: on a busy machine, kube-proxy can take more than five seconds to lead callers elsewhere.
    lifecycle: { preStop: { sleep: { seconds: 20 } } },
  };
  const template = { metadata: { labels }, spec: nodePod('agent', { container }).spec };
  const spec = { replicas: 2, selector: { matchLabels: labels }, template };
  const config = sidecarConfig({ inbound: INBOUND });
  await inject('inbound', { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'agent' }, spec }, config);
  await run(`kubectl -n inbound expose deployment agent --port 8080 --target-port http
    kubectl -n inbound rollout status deployment/agent`);
  const target = { url: `http://${await addressOf('inbound', 'agent')}:8080`, headers: authorization };
  const slow = { clients: 3, pauseMs: 50, client: httpClient({ ...target, url: `${target.url}/slow` }) };
  await assertNothingLost(t, { ...httpClients(target), 'long responses': slow }, 'inbound', 'agent');
});
