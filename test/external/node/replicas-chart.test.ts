import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fencedBlocks } from '../../harness/pages.ts';
import { node, run } from './node.ts';
import { addressOf, createNamespace } from './pods.ts';
import { untilShared } from './replicas.ts';

const NAMESPACE = 'chart';
/** A block of the page, in another namespace. */
const block = (language: string, index = 0): string =>
  fencedBlocks(readFileSync('deploy/replicas.md', 'utf8'), language)[index]?.replaceAll(
    /(-n |namespace |\.)agents\b/g,
    `$1${NAMESPACE}`,
  ) ?? '';

test('replicas of the chart share one exchange, also when the store gets TLS', async (t) => {
  await createNamespace(t, NAMESPACE);
  const files = await node.inFolder(NAMESPACE);
  await files.write('replicas.yaml', block('yaml values').replace('replicas: 3', 'replicas: 2'));
  const rollout = (name: string) => `kubectl -n ${NAMESPACE} rollout status deployment/cambist-${name} --timeout=60s\n`;
  const [secrets, , helm, tls] = [0, 1, 2, 3].map((index) => block('sh', index));
  const install = async (script = '') => {
    await files.run(script + rollout('valkey') + rollout('gateway'));
    await addressOf(NAMESPACE, 'cambist-valkey');
    await untilShared(NAMESPACE, 2);
  };
  await files.run(secrets ?? '');
  await install(helm);
  await install(tls);
  const valkey = `kubectl -n ${NAMESPACE} exec deployment/cambist-valkey -- bash -c`;
  assert.equal(await run(`${valkey} 'exec 3<>/dev/tcp/127.0.0.1/6379; echo PING >&3; cat <&3'`), '');
  assert.match(
    await run(`kubectl -n ${NAMESPACE} exec deployment/cambist-gateway -- node /app/dist/main.js doctor`),
    /no problem found/,
  );
});
