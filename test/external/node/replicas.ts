import assert from 'node:assert/strict';
import { eventually } from '../../harness/eventually.ts';
import { call } from '../../harness/http-call.ts';
import { idp, run } from './node.ts';

/** Replicas of the gateway of deploy/replicas.md. */

/** Calls each replica with a token. The endpoints follow a rollout a while later. @returns the statuses */
export async function statuses(namespace: string, replicas: number, token: string): Promise<number[]> {
  const ready = `kubectl -n ${namespace} get endpoints cambist-gateway -o`;
  let addresses: string[] = [];
  await eventually(`${replicas} endpoints`, async () => {
    addresses = (await run(`${ready} jsonpath='{.subsets[0].addresses[*].ip}'`)).split(' ');
    return addresses.length === replicas;
  });
  const headers = { host: `cambist-gateway.${namespace}.svc`, authorization: `Bearer ${token}` };
  const found: number[] = [];
  for (const address of addresses) found.push((await call(`http://${address}:8180/github`, { headers })).status);
  return found;
}

/** Calls each replica with a new token. @returns the number of exchanges */
export async function exchanges(namespace: string, replicas: number): Promise<number> {
  const token = await idp.mint();
  assert.deepEqual(await statuses(namespace, replicas, token), Array(replicas).fill(200));
  return idp.requests.filter(({ form }) => form.get('subject_token') === token).length;
}

/** Waits until the replicas share exchanges. A replica looks for the store again after a while. */
export function untilShared(namespace: string, replicas: number): Promise<void> {
  return eventually('the replicas share', async () => (await exchanges(namespace, replicas)) === 1, 60_000, 1000);
}
