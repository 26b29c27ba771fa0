import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { promisify } from 'node:util';
import { parse } from 'yaml';
import { getIn, type JsonObject } from '../../../src/kubernetes/json.ts';
import { freePort } from '../../harness/http-server.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { findStore, STORE_KINDS } from './programs.ts';
import { asUser, startReplicas, waitUntilShared } from './replicas.ts';
import { startStore } from './store-process.ts';

const run = promisify(execFile);
const DEPLOY = new URL('../../../deploy/', import.meta.url);

async function readYaml(name: string): Promise<JsonObject> {
  return parse(await readFile(new URL(`gateway/shared-cache/${name}`, DEPLOY), 'utf8')) as JsonObject;
}

/** Runs the commands of the guide that need no cluster. @returns the folder with the files that they make */
async function makeSecrets(t: TestContext): Promise<string> {
  const guide = await readFile(new URL('replicas.md', DEPLOY), 'utf8');
  const block = fencedBlocks(guide, 'sh').find((text) => text.includes('> users.acl'));
  const [script] = block?.split(/^kubectl/m) ?? [];
  assert.ok(script);
  const folder = temporaryFolder(t);
  await run('bash', ['-euc', script], { cwd: folder });
  return folder;
}

for (const kind of STORE_KINDS) {
  test(`${kind} with the arguments and the users of the deployment serves the config of the deployment`, async (t) => {
    const folder = await makeSecrets(t);
    const container = getIn(await readYaml('valkey-deployment.yaml'), ['spec', 'template', 'spec', 'containers', 0]);
    const port = await freePort();
    const args = (getIn(container, ['args']) as string[]).map((arg) =>
      arg === '6379' ? String(port) : arg.replace('/etc/valkey', folder),
    );
    const store = await startStore(t, { programs: findStore(kind), port, args, aclFile: join(folder, 'users.acl') });
    assert.match(await store.ask('CONFIG', 'GET', 'maxmemory-policy'), /volatile-ttl/);
    const password = await readFile(join(folder, 'valkey-password'), 'utf8');
    const shared = getIn(await readYaml('cambist.yaml'), ['cache', 'shared']) as JsonObject;
    const replicas = await startReplicas(t, {
      shared: (directory) => ({ ...shared, ...asUser(port, directory), username: shared.username }),
      files: { password },
    });
    await waitUntilShared(replicas);
    // Neither a default user nor another key.
    await assert.rejects(run(findStore(kind).cli, ['-e', '-p', String(port), 'PING'], { env: findStore(kind).env }));
    const denied = await store.ask('ACL', 'LOG');
    assert.doesNotMatch(denied, /username\ncambist/);
    replicas.leaks.assertNoLeak({ logs: replicas.logs() });
  });
}
