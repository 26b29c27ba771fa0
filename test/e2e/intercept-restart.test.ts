import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type TestContext, test } from 'node:test';
import { startCambist } from '../harness/cambist-process.ts';
import { freePort } from '../harness/free-port.ts';
import { temporaryFolder } from '../harness/temporary-folder.ts';

const HOST = 'mcp.example.com';

/** Reads its trust once, when it starts. Then connects for each line of standard input, and says whether TLS succeeded. */
const AGENT = `
const { request } = require('node:http');
const { connect } = require('node:tls');
require('node:readline').createInterface({ input: process.stdin }).on('line', () => {
  const { hostname, port } = new URL(process.env.HTTPS_PROXY);
  const proxy = request({ hostname, port, method: 'CONNECT', path: '${HOST}:443' });
  proxy.on('error', (error) => console.log(error.code));
  proxy.on('connect', (_response, socket) => {
    const secure = connect({ socket, servername: '${HOST}' }, () => {
      console.log('trusted');
      secure.destroy();
    });
    secure.on('error', (error) => console.log(error.code));
  }).end();
});
`;

/** A process that runs on while cambist restarts. */
function startAgent(t: TestContext, env: Readonly<Record<string, string>>) {
  const child = spawn(process.execPath, ['-e', AGENT], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  t.after(() => child.kill('SIGKILL'));
  const lines = createInterface({ input: child.stdout });
  return async (): Promise<string> => {
    const line = once(lines, 'line') as Promise<[string]>;
    child.stdin.write('call\n');
    return (await line)[0];
  };
}

for (const { ca, after } of [
  { ca: 'dir', after: 'trusted' },
  { ca: 'ephemeral', after: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' },
] as const) {
  test(`after a crash of cambist with ca: ${ca}, a running agent's handshake is: ${after}`, async (t) => {
    const folder = temporaryFolder(t);
    const port = await freePort();
    const config = {
      listen: `127.0.0.1:${port}`,
      intercept: { ca: ca === 'dir' ? { dir: join(folder, 'ca') } : ca, trust_dir: join(folder, 'trust') },
      routes: [{ name: 'mcp', match: { host: HOST }, upstream: 'https://127.0.0.1:1', credential: 'none' }],
    };
    const first = await startCambist({ config });
    t.after(() => first.close());
    const variables = await readFile(join(folder, 'trust', 'env'), 'utf8');
    const env = Object.fromEntries([...variables.matchAll(/^(\w+)='(.*)'$/gm)].map(([, name, value]) => [name, value]));
    const call = startAgent(t, env);
    assert.equal(await call(), 'trusted');
    first.signal('SIGKILL');
    await first.exit;
    assert.equal(await call(), 'ECONNREFUSED');
    const second = await startCambist({ config });
    t.after(() => second.close());
    assert.equal(await call(), after);
  });
}
