import assert from 'node:assert/strict';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { Launch } from '../harness/cambist-process.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';

const STEADY_MS = 100;

/** On SIGUSR2, writes a heap snapshot beside the config, after a garbage collection. */
const withSnapshots: Launch = async (configFile, directory) => [
  process.execPath,
  '--heapsnapshot-signal=SIGUSR2',
  `--diagnostic-dir=${directory}`,
  BUILT_PROGRAM,
  'run',
  '--config',
  configFile,
];

/** The snapshot: a JSON file that contains each string once. */
async function snapshot(directory: string, signal: () => void): Promise<string> {
  const before = await readdir(directory);
  signal();
  for (;;) {
    await delay(STEADY_MS);
    const name = (await readdir(directory)).find((file) => file.endsWith('.heapsnapshot') && !before.includes(file));
    if (name === undefined) continue;
    const file = join(directory, name);
    const { size } = await stat(file);
    await delay(STEADY_MS);
    if (size > 0 && (await stat(file)).size === size) return readFile(file, 'utf8');
  }
}

test("keeps no caller's token after its connection closes, and no issued token of a deleted session", async (t) => {
  const setup = await startFakeSetup({ launch: withSnapshots });
  t.after(setup.close);
  const { cambist, authorizationServer } = setup;
  const { authorization } = await setup.bearer();
  const subjectToken = authorization.slice('Bearer '.length);
  assert.equal((await setup.call({ headers: { authorization } })).status, 200);
  const issued = authorizationServer.requests[0]?.issued ?? '';
  // The snapshot truncates longer strings.
  for (const token of [subjectToken, issued]) assert.ok(token.length > 20 && token.length < 1000);

  const headers = { authorization, 'mcp-session-id': 'of-this-test' };
  assert.equal((await setup.call({ headers })).status, 200);
  assert.equal((await setup.call({ method: 'DELETE', headers })).status, 200);
  const ofSession = authorizationServer.requests.at(-1)?.issued ?? '';
  assert.notEqual(ofSession, issued);
  const heap = await snapshot(cambist.directory, () => cambist.signal('SIGUSR2'));
  assert.ok(heap.includes(issued), 'the snapshot must contain the cached token, or the test proves nothing');
  assert.ok(!heap.includes(subjectToken), "the caller's token is still in memory");
  assert.ok(!heap.includes(ofSession), 'the token of a deleted session is still in memory');
});
