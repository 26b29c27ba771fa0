import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parse, stringify } from 'yaml';
import { eventually } from '../../harness/eventually.ts';
import { guideScript } from '../cluster/objects.ts';
import { CA, idp, kubectl, node, PLAIN_IMAGE, run } from './node.ts';
import { createNamespace, inAgent, inject, nodePod, sidecarConfig, statusOf, waitUntilReady } from './pods.ts';

/** Commands of deploy/operations.md and deploy/sidecar.md, in pods that run. */

const UPDATE_LIMIT_MS = 120_000;
/** cambist alone mounts it. */
const SECRETS = '/var/run/secrets/cambist';

test('a sidecar gets ready when its ConfigMap gets the private certificate authority', async (t) => {
  await createNamespace(t, 'private-ca');
  const config = parse(sidecarConfig());
  const tls = { ca: { file: '/etc/cambist/ca.pem' } };
  Object.assign(config.authorization_servers.idp, { tls });
  Object.assign(config.routes[0], { tls });
  const pod = nodePod('agent', { namespace: 'private-ca', annotations: { 'cambist.dev/image': PLAIN_IMAGE } });
  // Both have the same `tls`, and cambist refuses aliases.
  const text = stringify(config, { aliasDuplicateObjects: false });
  await inject('private-ca', pod, text);
  const said = async () => (await kubectl(['-n', 'private-ca', 'logs', 'agent', '-c', 'cambist'])).stdout;
  await eventually('the sidecar says what is missing', async () => /ca\.pem/.test(await said()), UPDATE_LIMIT_MS, 500);
  await node.write('ca.pem', CA);
  await run(guideScript('--from-file=ca.pem').replaceAll('-n agents', '-n private-ca'));
  await waitUntilReady('private-ca', 'agent');
  assert.equal((await statusOf('private-ca', 'agent', 'cambist')).restartCount, 0);
  const curl = `curl -s -o /dev/null -w %{http_code} -H 'Authorization: Bearer ${await idp.mint()}'`;
  assert.equal(await inAgent('private-ca', 'agent', `${curl} http://127.0.0.1:8180/github`), '200');
  await inject('private-ca', pod, text);
  const keys = await run(`kubectl -n private-ca get configmap cambist -o jsonpath='{.data}'`);
  assert.deepEqual(Object.keys(JSON.parse(keys)).sort(), ['ca.pem', 'cambist.yaml']);
});

test('doctor and an operator work in a debug container, and the agent revokes nothing', async (t) => {
  await createNamespace(t, 'debug', { secret: { 'revoke-key': 'a key of at least 32 characters, for operators' } });
  const revoke = { secret: { file: `${SECRETS}/revoke-key` } };
  const defaults = { subject_token: { verify: { issuer: idp.issuer } } };
  const config = sidecarConfig({ signals: { revoke }, defaults });
  await inject('debug', nodePod('agent', { namespace: 'debug' }), config, '--memory-limit 64Mi');
  await waitUntilReady('debug', 'agent');
  const files = await node.inFolder('debug');
  const token = await idp.mint({ subject: 'alice' });
  await files.write('token', token);
  const [script = '', doctor = ''] = guideScript('--custom debug.yaml').split(/(?<=setTimeout.*\n)/);
  await files.run(script.replaceAll('-n agents', '-n debug'));
  await eventually('the debug container runs', () => isRunning('debug', 'agent'), UPDATE_LIMIT_MS, 200);
  assert.match(await files.run(doctor.replaceAll('-n agents', '-n debug')), /no problem found/);

  const curl = (options: string) => inAgent('debug', 'agent', `curl -s -o /dev/null -w %{http_code} ${options}`);
  const send = () => curl(`-H 'Authorization: Bearer ${token}' http://127.0.0.1:8180/github`);
  const claims = { events: { 'http://schemas.openid.net/event/backchannel-logout': {} }, jti: '1' };
  const forged = await idp.mint({ subject: 'alice', audience: 'urn:cambist:revoke', type: 'logout+jwt', claims });
  const post = `-H 'content-type: application/logout+jwt' -d ${forged} http://127.0.0.1:9180/revoke`;
  assert.deepEqual([await send(), await curl(post), await send()], ['200', '403', '200']);
  assert.equal((await kubectl(['-n', 'debug', 'exec', 'agent', '-c', 'agent', '--', 'ls', SECRETS])).code, 2);
  const command = guideScript('revoke --issuer').replace('SUB', 'alice');
  const inDebug = command.replace(
    '-n agents exec deployment/cambist-gateway -c cambist',
    '-n debug exec agent -c debug',
  );
  assert.match(await run(inDebug), /No other replica knows/);
  assert.equal(await send(), '401');
  assert.equal((await statusOf('debug', 'agent', 'cambist')).restartCount, 0);
});

async function isRunning(namespace: string, pod: string): Promise<boolean> {
  const path = 'jsonpath={.status.ephemeralContainerStatuses[0].state.running}';
  return (await kubectl(['-n', namespace, 'get', 'pod', pod, '-o', path])).stdout !== '';
}

test('a sidecar at rest needs no more memory than it requests', async (t) => {
  await createNamespace(t, 'rest');
  const names = ['a', 'b', 'c'];
  for (const name of names) await inject('rest', nodePod(name, { namespace: 'rest' }), sidecarConfig());
  await waitUntilReady('rest', ...names);
  await eventually('the kubelet counts less than the request', () => fit(names), UPDATE_LIMIT_MS, 1000);
});

/** Does the kubelet count no more for each sidecar than its request? */
async function fit(names: readonly string[]): Promise<boolean> {
  const metrics = await run('kubectl get --raw /api/v1/nodes/node/proxy/metrics/resource');
  const spec = await run(`kubectl -n rest get pod a -o jsonpath='{.spec.initContainers[0].resources.requests.memory}'`);
  const requestBytes = Number(spec.replace('Mi', '')) * 2 ** 20;
  return names.every((name) => {
    const sample = new RegExp(
      `^container_memory_working_set_bytes\\{container="cambist",namespace="rest",pod="${name}"\\} (\\S+)`,
      'm',
    );
    const [, bytes] = sample.exec(metrics) ?? [];
    return bytes !== undefined && Number(bytes) <= requestBytes;
  });
}
