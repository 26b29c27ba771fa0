import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { getIn, type JsonObject } from '../../../src/kubernetes/json.ts';
import { freePort } from '../../harness/http-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { runProgram, succeeded } from '../../harness/run-command.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { asUser, startReplicas, waitUntilShared } from './replicas.ts';
import { startStore } from './store-process.ts';

const readYaml = (name: string): JsonObject => parse(readFileSync(`deploy/gateway/shared-cache/${name}`, 'utf8'));

/** Runs the commands of the guide that need no cluster. @returns the folder with the files that they make */
async function makeSecrets(t: TestContext): Promise<string> {
  const block = fencedBlocks(readFileSync('deploy/replicas.md', 'utf8'), 'sh').find((text) =>
    text.includes('> users.acl'),
  );
  const [script] = block?.split(/^kubectl/m) ?? [];
  assert.ok(script);
  const folder = temporaryFolder(t);
  succeeded(await runProgram('bash', ['-euc', script], { cwd: folder }));
  return folder;
}

for (const kind of STORE_KINDS) {
  test(`${kind} with the arguments and the users of the deployment serves the config of the deployment`, async (t) => {
    const folder = await makeSecrets(t);
    const container = getIn(readYaml('valkey-deployment.yaml'), ['spec', 'template', 'spec', 'containers', 0]);
    const port = await freePort();
    const args = (getIn(container, ['args']) as string[]).map((arg) =>
      arg === '6379' ? String(port) : arg.replace('/etc/valkey', folder),
    );
    const store = await startStore(t, { programs: findStore(kind), port, args, aclFile: join(folder, 'users.acl') });
    assert.match(await store.ask('CONFIG', 'GET', 'maxmemory-policy'), /volatile-ttl/);
    const password = readFileSync(join(folder, 'valkey-password'), 'utf8');
    const shared = getIn(readYaml('cambist.yaml'), ['cache', 'shared']) as JsonObject;
    const replicas = await startReplicas(t, {
      shared: (directory) => ({ ...shared, ...asUser(port, directory), username: shared.username }),
      files: { password },
    });
    await waitUntilShared(replicas);
    // Neither a default user nor another key.
    const { cli, env } = findStore(kind);
    assert.equal((await runProgram(cli, ['-e', '-p', String(port), 'PING'], { env })).code, 1);
    const denied = await store.ask('ACL', 'LOG');
    assert.doesNotMatch(denied, /username\ncambist/);
    replicas.leaks.assertNoLeak({ logs: replicas.logs() });
  });
}
