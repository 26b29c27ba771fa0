import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, type TestContext, test } from 'node:test';
import { decodeJwt } from 'jose';
import { stringify } from 'yaml';
import { eventually } from '../../harness/eventually.ts';
import { call } from '../../harness/http-call.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { OPTED_IN } from '../cluster/objects.ts';
import { callThroughout } from './callers.ts';
import { github, IMAGE, idp, node, REDIRECT_IMAGE, run } from './node.ts';
import {
  createNamespace,
  INBOUND,
  inAgent,
  inject,
  installedWebhook,
  nodePod,
  podCreation,
  restarted,
  SERVER,
  sidecarConfig,
  statusOf,
  waitUntilReady,
} from './pods.ts';

/** Claims of the pages of `deploy/` about pods. The tests wait more than they work, so they share the node. */

const token = await idp.mint();
const ROUTE = 'http://127.0.0.1:8180/github';
const BACKEND = 'https://github-mcp.example.com/mcp';
const curl = (url: string): string => `curl -s -o /dev/null -w %{http_code} -H 'Authorization: Bearer ${token}' ${url}`;
const INTERCEPTING = { ca: { dir: '/run/cambist/ca' }, listen: ['127.0.0.1:443', '127.0.0.1:80'] };

/** The machine may be busy. */
const LIMIT_MS = 120_000;

/** Calls once before it opens a stream, and again when it has been told to stop. */
const STREAMING = `
const { get } = require('node:http');
const call = (path, then) => get('${ROUTE}' + path, { headers: { authorization: 'Bearer ${token}' } }, then);
const say = (word) => (response) => { console.log(word, response.statusCode, response.headers.connection); response.resume(); };
call('', (response) => {
  say('first')(response);
  call('/endless', (response) => response.on('data', () => console.log('event')).on('close', () => console.log('closed')));
});
process.on('SIGTERM', () => {
  console.log('stopping');
  setTimeout(() => call('', (response) => { say('last')(response); setTimeout(process.exit, 500); }), 1500);
});`;
const IN_ORDER = /^first 200 keep-alive\n(?:event\n)+stopping\n(?:event\n)+last 200 keep-alive\n(?:event\n)*$/;

/** An expression that sends bodies of 60 KiB at a time. It resolves to the statuses, with the cause of each request that failed. */
function posts(count: number): string {
  const post = `fetch('${ROUTE}', { method: 'POST', body: 'x'.repeat(61440), headers: { authorization: 'Bearer ${token}' } })`;
  const each = `${post}.then((response) => response.text().then(() => response.status)).catch((error) => String(error.cause))`;
  return `Promise.all(Array.from({ length: ${count} }, () => ${each}))`;
}

/** Waits until the agent is ready and has got an event. */
async function streamIsOpen(namespace: string): Promise<void> {
  await waitUntilReady(namespace, 'agent');
  const said = () => run(`kubectl -n ${namespace} logs agent -c agent`);
  await eventually('the stream is open', async () => /event/.test(await said()), LIMIT_MS, 500);
}

/** Deletes a pod. @returns the log of each container until its end */
async function deleteWithLogs(namespace: string, ...containers: readonly string[]): Promise<string[]> {
  const follow = containers.map(
    (name) => `kubectl -n ${namespace} logs -f agent -c ${name} >${namespace}-${name}.log &`,
  );
  await run(`${follow.join('\n')}
    kubectl -n ${namespace} delete pod agent --timeout=90s
    wait`);
  return Promise.all(containers.map((name) => run(`cat ${namespace}-${name}.log`)));
}

async function killTask(id: string): Promise<void> {
  await run(`ctr --namespace k8s.io tasks kill --signal SIGKILL ${id}`);
}

/** The first one needs a quick backend, and the flood of another one must not meet it. */
const CASES: Readonly<Record<string, (t: TestContext) => Promise<void>>> = {
  async 'a sidecar with 64Mi serves 30 bodies at a time, one with 50m starts, and one with 16Mi lets no agent start'(
    t,
  ) {
    await createNamespace(t, 'limits');
    for (const [name, limits] of Object.entries({
      memory: '--memory-limit 64Mi --memory-request 64Mi',
      cpu: '--cpu-limit 50m',
      killed: '--memory-limit 16Mi --memory-request 16Mi',
    })) {
      await inject('limits', nodePod(name), sidecarConfig({ limits: { max_in_flight: 100 } }), limits);
    }
    await waitUntilReady('limits', 'memory', 'cpu');
    assert.equal(await inAgent('limits', 'cpu', curl(ROUTE)), '200');
    const program = `${posts(30)}.then((all) => console.log(...new Set(all)))`;
    const served = await inAgent('limits', 'memory', `node -e "${program}"`).catch(String);
    assert.deepEqual([served, (await statusOf('limits', 'memory', 'cambist')).lastState], ['200\n', {}]);
    const isKilled = async () => {
      const { lastState } = await statusOf('limits', 'killed', 'cambist');
      return lastState.terminated?.reason === 'OOMKilled';
    };
    await eventually('the sidecar was killed', isKilled, LIMIT_MS, 500);
    assert.equal((await statusOf('limits', 'killed', 'agent')).restartCount, 0);
  },

  async 'a native sidecar starts before the agent, and stops after it'(t) {
    await createNamespace(t, 'order');
    await inject('order', nodePod('agent', { container: { command: ['node', '-e', STREAMING] } }), sidecarConfig());
    await streamIsOpen('order');
    const [agent = '', cambist = ''] = await deleteWithLogs('order', 'agent', 'cambist');
    assert.match(agent, IN_ORDER);
    assert.match(cambist, /cambist is shutting down[\s\S]*cambist has stopped/);
  },

  async 'a pod waits for its ConfigMap and the authorization server, and starts once both are there'(t) {
    await createNamespace(t, 'waiting');
    const config = sidecarConfig();
    await inject('waiting', nodePod('agent'), config);
    await run('kubectl -n waiting delete pod agent --now && kubectl -n waiting delete configmap cambist');
    await run(`cambist inject --image ${IMAGE} --secret cambist waiting.yaml | kubectl apply -f -`);
    const events = 'kubectl -n waiting get events --field-selector involvedObject.name=agent';
    await eventually('the mount fails', async () => /FailedMount/.test(await run(events)), LIMIT_MS, 500);
    const isInitial = async () => assert.match(await run('kubectl -n waiting get pod agent'), /Init:0\/1/);
    await isInitial();
    const create = (text: string) =>
      node.write('changed.yaml', text).then(() =>
        run(`kubectl -n waiting create configmap cambist --from-file=cambist.yaml=changed.yaml --dry-run=client -o yaml |
          kubectl -n waiting apply -f -`),
      );
    await create(config.replace(idp.issuer, idp.issuer.replace('.com', '.com:444')));
    await eventually('it is not ready', async () => /statuscode: 503/.test(await run(events)), LIMIT_MS, 500);
    await isInitial();
    await create(config);
    await waitUntilReady('waiting', 'agent');
  },

  async 'a classic sidecar serves the agent until the hook is over'(t) {
    await createNamespace(t, 'classic');
    const ready = 'until curl --fail --silent --output /dev/null http://127.0.0.1:9180/readyz; do sleep 0.2; done';
    const container = { command: ['bash', '-c', `${ready}; exec node -e "$0"`, STREAMING] };
    const pod = { ...nodePod('agent', { container }) };
    await inject('classic', pod, sidecarConfig(), '--sidecar classic --termination-grace-period 40s');
    await streamIsOpen('classic');
    const [agent = ''] = await deleteWithLogs('classic', 'agent');
    assert.match(agent, IN_ORDER);
  },

  async 'an agent and its init container are intercepted, and the agent trusts the sidecar that follows a killed one'(
    t,
  ) {
    await createNamespace(t, 'killed');
    const match = { host: 'github-mcp.example.com' };
    const pod = nodePod('agent');
    const check = ['bash', '-c', `test $(${curl(BACKEND)}) = 200`];
    const initContainers = pod.spec.containers.map((agent) => ({ ...agent, name: 'first', command: check }));
    const config = sidecarConfig({ intercept: INTERCEPTING }, match);
    await inject('killed', { ...pod, spec: { ...pod.spec, initContainers } }, config, '--intercept names');
    await waitUntilReady('killed', 'agent');
    assert.equal(await inAgent('killed', 'agent', curl(BACKEND)), '200');
    const trust = () => inAgent('killed', 'agent', 'sha256sum /run/cambist/trust/bundle.pem');
    const before = await trust();
    await killTask((await statusOf('killed', 'agent', 'cambist')).containerID.replace('containerd://', ''));
    await restarted('killed', 'agent', 'cambist');
    assert.equal(await inAgent('killed', 'agent', curl(BACKEND)), '200');
    const { restartCount, uid } = await statusOf('killed', 'agent', 'agent');
    assert.equal(restartCount, 0);
    assert.equal(await trust(), before);

    const sandbox = `'labels."io.kubernetes.pod.uid"==${uid},labels."io.cri-containerd.kind"==sandbox'`;
    await killTask((await run(`ctr --namespace k8s.io containers list --quiet ${sandbox}`)).trim());
    await restarted('killed', 'agent', 'agent');
    await waitUntilReady('killed', 'agent');
    assert.equal(await inAgent('killed', 'agent', curl(BACKEND)), '200');
    assert.equal(await trust(), before);
  },

  async 'a changed ConfigMap and a changed Secret arrive in a running pod'(t) {
    await createNamespace(t, 'changes');
    await inject('changes', nodePod('agent'), sidecarConfig());
    await waitUntilReady('changes', 'agent');
    assert.equal(await inAgent('changes', 'agent', curl('http://127.0.0.1:8180/other')), '403');
    await inject('changes', nodePod('agent'), sidecarConfig({}, { path: '/other' }));
    const page = readFileSync('deploy/operations.md', 'utf8');
    const files = await node.inFolder('changes');
    await files.write('client-secret', 'another-secret');
    await files.run((fencedBlocks(page, 'sh')[0] ?? '').replace('-n agents', '-n changes'));
    await eventually(
      'the route is there',
      async () => (await inAgent('changes', 'agent', curl('http://127.0.0.1:8180/other'))) === '200',
      LIMIT_MS,
      1000,
    );
    await eventually(
      'the secret is used',
      async () => {
        const another = await idp.mint();
        await inAgent('changes', 'agent', curl('http://127.0.0.1:8180/other').replace(token, another));
        const last = idp.requests.find(({ form }) => form.get('subject_token') === another);
        return last?.headers.authorization === `Basic ${Buffer.from('cambist:another-secret').toString('base64')}`;
      },
      LIMIT_MS,
      1000,
    );
    assert.equal((await statusOf('changes', 'agent', 'cambist')).restartCount, 0);
  },

  async 'a Job with a native sidecar completes'(t) {
    await createNamespace(t, 'jobs');
    const { spec } = nodePod('agent', { container: { command: ['bash', '-c', `test $(${curl(ROUTE)}) = 200`] } });
    const job = { apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'agent' } };
    const template = { spec: { ...spec, restartPolicy: 'Never' } };
    await inject('jobs', { ...job, spec: { backoffLimit: 0, template } }, sidecarConfig());
    await run('kubectl -n jobs wait --for=condition=Complete job/agent --timeout=60s');
  },

  async 'a sidecar that is killed for its memory starts again, and its agent goes on'(t) {
    await createNamespace(t, 'flooded');
    await inject('flooded', nodePod('agent'), sidecarConfig(), '--memory-limit 64Mi');
    await waitUntilReady('flooded', 'agent');
    await inAgent('flooded', 'agent', `node -e "${posts(1000)}"`);
    await restarted('flooded', 'agent', 'cambist');
    assert.equal((await statusOf('flooded', 'agent', 'cambist')).lastState.terminated?.reason, 'OOMKilled');
    assert.equal(await inAgent('flooded', 'agent', curl(ROUTE)), '200');
    assert.equal((await statusOf('flooded', 'agent', 'agent')).restartCount, 0);
  },

  async 'the webhook under load injects every way to intercept, and inbound'(t) {
    await createNamespace(t, 'webhook', { standard: 'privileged' });
    await installedWebhook();
    const match = { host: 'github-mcp.example.com' };
    const packets = { ...INTERCEPTING, listen: ['127.0.0.1:15443', '127.0.0.1:15080'] };
    const agent = { command: ['node', '-e', SERVER], ports: [{ name: 'http', containerPort: 8080 }] };
    const proxy = sidecarConfig({ intercept: { ca: INTERCEPTING.ca } }, match);
    const ways = [
      ['proxy', proxy, {}, {}],
      ['names', sidecarConfig({ intercept: INTERCEPTING }, match), { 'intercept-hosts': match.host }, {}],
      ['packets', sidecarConfig({ intercept: packets }, match), { 'redirect-image': REDIRECT_IMAGE }, {}],
      ['inbound', sidecarConfig({ inbound: INBOUND }), { inbound: '8080' }, agent],
    ] as const;
    const pods = ways.map(([name, config, options, container]) => {
      const all = { secret: 'cambist', 'config-map': name, ...(name !== 'inbound' && { intercept: name }), ...options };
      const annotations = Object.fromEntries(Object.entries(all).map(([key, value]) => [`cambist.dev/${key}`, value]));
      const data = { 'cambist.yaml': config };
      const configMap = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace: 'webhook' }, data };
      return [configMap, nodePod(name, { namespace: 'webhook', labels: OPTED_IN, annotations, container })];
    });
    await node.write(
      'webhook.yaml',
      pods
        .flat()
        .map((each) => stringify(each))
        .join('---\n'),
    );
    const { failures } = await callThroughout({ pods: podCreation('webhook') }, async () => {
      await run('kubectl apply -f webhook.yaml');
      await waitUntilReady('webhook', ...ways.map(([name]) => name));
    });
    assert.deepEqual(failures, []);
    for (const way of ['proxy', 'names', 'packets']) {
      assert.equal(await inAgent('webhook', way, curl(`https://github-mcp.example.com/${way}`)), '200');
      const { authorization = [] } = github.requests.find(({ url }) => url.endsWith(way)) ?? {};
      assert.equal(decodeJwt(authorization[0] ?? '').aud, BACKEND);
    }
    const address = `http://${(await statusOf('webhook', 'inbound', 'agent')).podIP}:8080`;
    const { text } = await call(address, { headers: { authorization: `Bearer ${token}` } });
    assert.match(text, /^Bearer cbh_/);
  },
};

describe('pods', { concurrency: 4 }, () => {
  for (const [name, run] of Object.entries(CASES)) test(name, run);
});
