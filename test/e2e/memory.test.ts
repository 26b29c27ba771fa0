import assert from 'node:assert/strict';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { type Launch, startCambist } from '../harness/cambist-process.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { createMemoryCgroup, floodPod, IMAGE_NODE_FLAGS, POD_MEMORY_BYTES } from '../harness/flood.ts';
import { call, connectRaw } from '../harness/http-call.ts';
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
  const setup = await startFakeSetup(t, { launch: withSnapshots });
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

const FILES = 256;
const CONNECTIONS = 96;

/** Bytes after which a connection is silent, idle, or waits for the rest of its headers or body. */
const STALLING = [
  '',
  'GET /plain HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n',
  'GET /plain HTTP/1.1\r\nhost:',
  'POST /plain HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n',
];

test('serves callers while more connections than the process may open are silent, idle or incomplete', async (t) => {
  const upstream = await startFakeUpstream(t, echo);
  const cambist = await startCambist(t, {
    config: {
      limits: { max_connections: 20_000 },
      routes: [{ name: 'plain', match: { path: '/plain' }, upstream: upstream.url, credential: 'none' }],
    },
    launch: async (file) => {
      const command = [process.execPath, BUILT_PROGRAM, 'run', '--config', file];
      return ['/bin/sh', '-c', `ulimit -n ${FILES} && exec "$@"`, 'sh', ...command];
    },
  });
  const held = await Promise.all(Array.from({ length: FILES + 100 }, () => connectRaw(cambist.url)));
  for (const [index, connection] of held.entries()) connection.send(STALLING[index % STALLING.length] ?? '');
  for (let i = 0; i < 5; i += 1) assert.equal((await call(`${cambist.url}/plain`, { body: 'x' })).status, 200);
  assert.equal((await fetch(`${cambist.adminUrl}/readyz`)).status, 200);
  assert.equal(await cambist.metric('cambist_limit', { limit: 'max_connections' }), CONNECTIONS);
  const lowered = `limits.max_connections is lowered from 20000 to ${CONNECTIONS}: the process may open only ${FILES} files`;
  await cambist.waitForLog(({ level, msg }) => level === 'warn' && String(msg).startsWith(lowered));
  await cambist.waitForLog(({ msg }) =>
    /only 256 files; .*ulimit -n; dropped \d+ connections to listen$/.test(String(msg)),
  );
  for (const { socket } of held) socket.destroy();
});

const PERCENTAGE = '--max-old-space-size-percentage';

/** The image's flags. Without a cgroup or with an older Node.js, the heap limit is a size instead of a percentage. */
function nodeFlags(isLimited: boolean): string[] {
  const known = IMAGE_NODE_FLAGS.filter((flag) => flag.includes('=') || process.allowedNodeEnvironmentFlags.has(flag));
  return known.map((flag) => {
    const [name, share] = flag.split('=');
    if (name !== PERCENTAGE || (isLimited && process.allowedNodeEnvironmentFlags.has(PERCENTAGE))) return flag;
    return `--max-old-space-size=${((POD_MEMORY_BYTES / 1024 / 1024) * Number(share)) / 100}`;
  });
}

test('stays within the memory limit of the example pod during a flood of callers', async (t) => {
  const cgroup = await createMemoryCgroup(POD_MEMORY_BYTES);
  t.diagnostic(
    cgroup === undefined ? 'as a process, because no cgroup can be created here' : `in a cgroup: ${cgroup.procsFile}`,
  );
  const flags = nodeFlags(cgroup !== undefined);
  const launch: Launch = async (configFile) => {
    const program = [process.execPath, ...flags, BUILT_PROGRAM, 'run', '--config', configFile] as const;
    if (cgroup === undefined) return program;
    return ['/bin/sh', '-c', 'echo $$ > "$0" && exec "$@"', cgroup.procsFile, ...program];
  };
  try {
    await floodPod(t, launch);
  } finally {
    // After the hooks of the flood, which end the processes in it.
    t.after(() => cgroup?.remove());
  }
});
