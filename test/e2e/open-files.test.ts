import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { startCambist } from '../harness/cambist-process.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { call, connectRaw } from '../harness/http-call.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';
import { echo } from '../harness/upstream-handlers.ts';

const FILES = 256;
const CONNECTIONS = 96;

async function startWithFewFiles(t: TestContext) {
  const upstream = await startFakeUpstream(echo);
  t.after(upstream.close);
  const cambist = await startCambist({
    config: { routes: [{ name: 'plain', match: { path: '/plain' }, upstream: upstream.url, credential: 'none' }] },
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
