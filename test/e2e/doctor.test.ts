import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type RunningAuthorizationServer, startAuthorizationServer } from '../harness/authorization-server.ts';
import { soon } from '../harness/eventually.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { closeServer, listen } from '../harness/http-server.ts';
import { createLeakWatch } from '../harness/leaks.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { runCommand } from '../harness/run-command.ts';

const SECRET = 'the-client-secret-of-this-test';

interface Scene {
  backend: string;
  config: string;
  server: RunningAuthorizationServer;
  write(name: string, content: string): Promise<string>;
  doctor(...args: string[]): ReturnType<typeof runCommand>;
}

async function startScene(t: TestContext): Promise<Scene> {
  const upstream = await startFakeUpstream(t, echo);
  const backend = `${upstream.url}/mcp`;
  const server = await startAuthorizationServer({
    clients: { cambist: { method: 'client_secret_basic', secret: SECRET } },
    resources: { [backend]: { scopes: ['mcp'] } },
  });
  t.after(server.close);
  const folder = temporaryFolder(t);
  const write = async (name: string, content: string) => {
    await writeFile(join(folder, name), content);
    return join(folder, name);
  };
  const config = {
    version: 1,
    authorization_servers: {
      local: {
        issuer: server.issuer,
        client_id: 'cambist',
        client_auth: { method: 'client_secret_basic', client_secret: { file: await write('secret', SECRET) } },
      },
    },
    routes: [
      {
        name: 'github',
        match: { path: '/github' },
        upstream: backend,
        subject_token: { verify: { issuer: server.issuer } },
      },
      { name: 'docs', match: { path: '/docs' }, upstream: backend, resource: `${upstream.url}/unknown` },
    ],
  };
  const file = await write('cambist.json', JSON.stringify(config));
  return {
    backend,
    config: file,
    server,
    write,
    doctor: (...args) => runCommand(['doctor', '--config', file, ...args]),
  };
}

test('reports each step and the claims, but no token or secret, and exits with 0', async (t) => {
  const { backend, server, write, doctor } = await startScene(t);
  const token = await server.issueSubjectToken({ sub: 'alice', audience: ['agent', 'cambist'] });
  const file = await write('token', `Bearer ${token}\n`);
  const { code, stdout, stderr } = await doctor('--route', 'github', '--subject-token-file', file);
  assert.deepEqual([code, stderr], [0, '']);
  for (const line of [
    `authorization server "local": ${server.issuer}`,
    '  ✓ client "cambist" (client_secret_basic) is accepted',
    `keys of issuer "${server.issuer}", which verify subject tokens`,
    `route "github": ${backend}`,
    `  ✓ the subject token is signed by issuer "${server.issuer}", for "cambist"`,
    `  ✓ the backend ${new URL(backend).origin} returns 200 without a token`,
    `      iss: "${server.issuer}"`,
    `      aud: "${backend}"`,
    `  ✓ its "aud" is "${backend}", which includes the backend's audience`,
  ]) {
    assert.ok(stdout.split('\n').includes(line), `${line}\n${stdout}`);
  }
  assert.match(stdout, /cambist\.json: no problem found\n$/);
  assert.ok(!stdout.includes('\u001b'), 'no colour without a terminal');
  const leaks = createLeakWatch();
  leaks.remember(token);
  leaks.remember(SECRET);
  leaks.assertNoLeak({ stdout });
  assert.ok(!stdout.includes('alice'), 'no user');
  assert.ok(!/eyJ[\w-]+\.[\w-]+\./.test(stdout), 'no issued token');
});

test('reads a subject token from standard input', async (t) => {
  const { config, server } = await startScene(t);
  const input = `${await server.issueSubjectToken({ sub: 'alice', audience: 'cambist' })}\n`;
  const args = ['doctor', '--config', config, '--route', 'github', '--subject-token-file', '-'];
  const { code, stdout } = await runCommand(args, { input });
  assert.equal(code, 0, stdout);
  assert.match(stdout, /subject token from standard input: iss/);
});

test('exits with 1 on a problem, and prints stable codes with --json', async (t) => {
  const { server, write, doctor } = await startScene(t);
  const file = await write('token', await server.issueSubjectToken({ sub: 'alice', audience: 'cambist' }));
  const { code, stdout } = await doctor('--subject-token-file', file, '--json');
  const report = JSON.parse(stdout) as { healthy: boolean; findings: Record<string, unknown>[] };
  assert.deepEqual([code, report.healthy], [1, false]);
  const [wrong] = report.findings.filter(({ severity }) => severity === 'error');
  assert.deepEqual([wrong?.about, wrong?.code], [{ kind: 'route', name: 'docs' }, 'resource_refused']);
  assert.deepEqual(Object.keys(wrong ?? {}), ['about', 'severity', 'code', 'what', 'why', 'fix']);
});

test('exits with 2 on an unknown route, or on a file without a token', async (t) => {
  const { doctor, write } = await startScene(t);
  const route = await doctor('--route', 'gihtub');
  assert.deepEqual([route.code, route.stdout], [2, '']);
  assert.match(route.stderr, /unknown route "gihtub": the config has github, docs/);
  const trust = await doctor('--trust', '--route', 'github');
  assert.deepEqual([trust.code, trust.stdout], [2, '']);
  assert.match(trust.stderr, /--trust takes no --route/);
  const file = await doctor('--subject-token-file', '/nowhere/token');
  assert.equal(file.code, 2);
  assert.match(file.stderr, /"\/nowhere\/token" cannot be read/);
  for (const [content, why] of [
    [' \n', /is empty: name a file that contains a token/],
    ['{"access_token":"eyJ"}', /contains other text than a token: name a file/],
  ] as const) {
    const { code, stderr } = await doctor('--subject-token-file', await write('other', content));
    assert.equal(code, 2);
    assert.match(stderr, why);
  }
});

test('reads at most 64 KiB of a token, from a file and from standard input', async (t) => {
  const { config, write, doctor } = await startScene(t);
  const short = await doctor('--subject-token-file', await write('short', `Bearer ${'a'.repeat(65_529)}`));
  assert.match(short.stdout, /subject token from .*short is opaque/);
  const long = await doctor('--subject-token-file', await write('long', `Bearer ${'a'.repeat(65_530)}`));
  const endless = await doctor('--subject-token-file', '/dev/zero');
  const args = ['doctor', '--config', config, '--subject-token-file', '-'];
  const piped = await runCommand(args, { input: 'a'.repeat(1024 * 1024) });
  for (const { code, stdout, stderr } of [long, endless, piped]) {
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /"(\S+|standard input)" is longer than 64 KiB, too long for a token: name a file/);
  }
});

test('reports a wrong config as validate does, and sends nothing', async (t) => {
  const { write } = await startScene(t);
  const file = await write('bad.yaml', 'version: 1\nroutes: []\n');
  const { code, stdout, stderr } = await runCommand(['doctor', '--config', file]);
  assert.deepEqual([code, stdout], [1, '']);
  assert.ok(stderr.startsWith(`${file}:2:9: `));
});

test('exits despite a backend that never responds and has no connect timeout', async (t) => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => void sockets.add(socket.on('error', () => {})));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return closeServer(silent);
  });
  const upstream = `https://localhost:${(await listen(silent)).port}`;
  const routes = [{ name: 'a', match: { path: '/' }, upstream, credential: 'none', timeouts: { connect: 0 } }];
  const { write } = await startScene(t);
  const file = await write('silent.json', JSON.stringify({ version: 1, routes }));
  const { code, stdout } = await soon('the exit', runCommand(['doctor', '--config', file]), 30_000);
  assert.equal(code, 0);
  assert.match(stdout, /\[backend_silent\]/);
});
