import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { call } from '../../harness/http-call.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { idp, run } from './node.ts';
import { addressOf, createNamespace } from './pods.ts';

const [secrets = '', apply = ''] = fencedBlocks(readFileSync('deploy/replicas.md', 'utf8'), 'sh');

test('replicas of the gateway share one exchange, and exchange for themselves while the store is down', async (t) => {
  await createNamespace(t, 'agents');
  await run(secrets);
  const commands = apply.trimEnd().split('\n');
  const doctor = commands.pop() ?? '';
  await run(commands.join('\n'));
  await addressOf('agents', 'cambist-valkey');
  assert.match(await run(doctor), /no problem found/);
  const pods = 'kubectl -n agents get pods -l app.kubernetes.io/name=cambist-gateway';
  const addresses = (await run(`${pods} -o jsonpath='{.items[*].status.podIP}'`)).split(' ');
  assert.equal(addresses.length, 3);
  /** Calls each replica with a new token. @returns the number of exchanges */
  const exchanges = async (): Promise<number> => {
    const token = await idp.mint();
    const headers = { host: 'cambist-gateway.agents.svc', authorization: `Bearer ${token}` };
    for (const address of addresses) {
      assert.equal((await call(`http://${address}:8180/github`, { headers })).status, 200);
    }
    return idp.requests.filter(({ form }) => form.get('subject_token') === token).length;
  };
  /** A replica looks for the store again after a while. */
  const shared = () => eventually('the replicas share', async () => (await exchanges()) === 1, 60_000, 1000);
  await shared();
  const scale = 'kubectl -n agents scale deployment/cambist-valkey --replicas';
  await run(`${scale} 0 && kubectl -n agents wait --for=delete pod -l app.kubernetes.io/name=cambist-valkey`);
  assert.equal(await exchanges(), 3);
  await run(`${scale} 1 && kubectl -n agents rollout status deployment/cambist-valkey`);
  await shared();
});
