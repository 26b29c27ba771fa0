import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { guideScript } from '../cluster/objects.ts';
import { idp, kubectl, run } from './node.ts';
import { addressOf, createNamespace } from './pods.ts';
import { exchanges, statuses, untilShared } from './replicas.ts';

const [secrets = '', apply = ''] = fencedBlocks(readFileSync('deploy/replicas.md', 'utf8'), 'sh');

/** The manifests of the page, with revocations by an operator. */
const REVOCABLE = `kubectl kustomize deploy/gateway/shared-cache |
  sed 's|^    cache:|    signals: { revoke: { secret: { file: /var/run/secrets/cambist/revoke-key } } }\\n&|' |
  kubectl -n agents apply -f -`;

test('replicas of the gateway share exchanges and revocations, and exchange for themselves while the store is down', async (t) => {
  await createNamespace(t, 'agents', { secret: { 'revoke-key': 'a key of at least 32 characters, for operators' } });
  await run(secrets);
  const commands = apply.trimEnd().split('\n');
  const doctor = commands.pop() ?? '';
  assert.match(commands[0] ?? '', /apply -k deploy\/gateway\/shared-cache$/);
  await run([REVOCABLE, ...commands.slice(1)].join('\n'));
  await addressOf('agents', 'cambist-valkey');
  assert.match(await run(doctor), /no problem found/);
  await untilShared('agents', 3);

  const [revoked, other] = [await idp.mint({ subject: 'revoked' }), await idp.mint({ subject: 'other' })];
  assert.deepEqual(await statuses('agents', 3, revoked), [200, 200, 200]);
  assert.match(await run(guideScript('revoke --issuer').replace('SUB', 'revoked')), /All replicas know\./);
  await eventually('each replica refuses', async () => /^401,401,401$/.test(`${await statuses('agents', 3, revoked)}`));
  assert.deepEqual(await statuses('agents', 3, other), [200, 200, 200]);

  const scale = 'kubectl -n agents scale deployment/cambist-valkey --replicas';
  await run(`${scale} 0 && kubectl -n agents wait --for=delete pod -l app.kubernetes.io/name=cambist-valkey`);
  assert.equal(await exchanges('agents', 3), 3);
  await run(`${scale} 1 && kubectl -n agents rollout status deployment/cambist-valkey`);
  await untilShared('agents', 3);

  const names = await run('kubectl -n agents get pods -l app.kubernetes.io/name=cambist-gateway -o name');
  const [first, second] = names.trim().replaceAll('pod/', '').split('\n');
  const evict = (name = '') => {
    const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace: 'agents' } };
    return kubectl(['create', '--raw', `/api/v1/namespaces/agents/pods/${name}/eviction`, '-f', '-'], eviction);
  };
  await eventually('one replica may go', async () => (await evict(first)).code === 0);
  assert.match((await evict(second)).stderr, /disruption budget/);
});
