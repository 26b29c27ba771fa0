import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type Launch, startCambist } from '../harness/cambist-process.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { floodPod } from '../harness/flood.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { createMemoryCgroup } from '../harness/memory-cgroup.ts';
import { IMAGE_NODE_FLAGS, POD_MEMORY_BYTES } from '../harness/pod-limits.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';
import { echo } from '../harness/upstream-handlers.ts';

const FILES = 256;
const CONNECTIONS = 96;

async function startWithFewFiles(t: TestContext) {
  const upstream = await startFakeUpstream(echo);
  t.after(upstream.close);
  const cambist = await startCambist({
    config: {
      limits: { max_connections: 20_000 },
      routes: [{ name: 'plain', match: { path: '/plain' }, upstream: upstream.url, credential: 'none' }],
    },
    launch: async (file) => {
      const command = [process.execPath, BUILT_PROGRAM, 'run', '--config', file];
      return ['/bin/sh', '-c', `ulimit -n ${FILES} && exec "$@"`, 'sh', ...command];
    },
  });
  t.after(cambist.close);
  return cambist;
}

for (const [kind, text] of [
  ['silent', ''],
  ['idle', 'GET /plain HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n'],
  ['with incomplete headers', 'GET /plain HTTP/1.1\r\nhost:'],
  ['without the body of their request', 'POST /plain HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10\r\n\r\n'],
] as const) {
  test(`serves callers while more connections than the process may open are ${kind}`, async (t) => {
    const cambist = await startWithFewFiles(t);
    const held = await Promise.all(Array.from({ length: FILES + 100 }, () => connectRaw(cambist.url)));
    for (const connection of held) connection.send(text);
    for (let i = 0; i < 5; i += 1) assert.equal((await call(`${cambist.url}/plain`, { body: 'x' })).status, 200);
    assert.equal((await fetch(`${cambist.adminUrl}/readyz`)).status, 200);
    assert.equal(await cambist.metric('cambist_limit', { limit: 'max_connections' }), CONNECTIONS);
    const lowered = `limits.max_connections is lowered from 20000 to ${CONNECTIONS}: the process may open only ${FILES} files`;
    await cambist.waitForLog(({ level, msg }) => level === 'warn' && String(msg).startsWith(lowered));
    await cambist.waitForLog(({ msg }) => /only 256 files; .*ulimit -n; dropped \d+ connections$/.test(String(msg)));
    for (const { socket } of held) socket.destroy();
  });
}

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
    await cgroup?.remove();
  }
});
