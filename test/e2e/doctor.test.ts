import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { type RunningAuthorizationServer, startAuthorizationServer } from '../harness/authorization-server.ts';
import { soon } from '../harness/eventually.ts';
import { startFakeUpstream } from '../harness/fake-upstream.ts';
import { closeServer, listen } from '../harness/http-server.ts';
import { createLeakWatch } from '../harness/leaks.ts';
import { runCommand } from '../harness/run-command.ts';
import { echo } from '../harness/upstream-handlers.ts';

const SECRET = 'the-client-secret-of-this-test';

interface Scene {
  /** URL of a backend that is there. */
  backend: string;
  /** Path of a config file. */
  config: string;
  server: RunningAuthorizationServer;
  /** Writes a file beside the config. @returns its path */
  write(name: string, content: string): Promise<string>;
  /** Runs the doctor on a config with these routes. */
  doctor(...args: string[]): ReturnType<typeof runCommand>;
}

async function startScene(t: TestContext): Promise<Scene> {
  const upstream = await startFakeUpstream(echo);
  t.after(upstream.close);
  const backend = `${upstream.url}/mcp`;
  const server = await startAuthorizationServer({
    clients: { cambist: { method: 'client_secret_basic', secret: SECRET } },
    resources: { [backend]: { scopes: ['mcp'] } },
  });
  t.after(server.close);
  const folder = await mkdtemp(join(tmpdir(), 'cambist-doctor-'));
  t.after(() => rm(folder, { recursive: true }));
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

test('against a real server: exit code 0, the steps in words, the claims, and no token or secret', async (t) => {
  const { backend, server, write, doctor } = await startScene(t);
  const token = await server.issueSubjectToken({ sub: 'alice', audience: ['agent', 'cambist'] });
  const file = await write('token', `Bearer ${token}\n`);
  const { code, stdout, stderr } = await doctor('--route', 'github', '--subject-token-file', file);
  assert.deepEqual([code, stderr], [0, '']);
  for (const said of [
    `authorization server "local": ${server.issuer}`,
    '  ✓ client "cambist" (client_secret_basic) is accepted',
    `keys of issuer "${server.issuer}", to verify subject tokens by`,
    `route "github": ${backend}`,
    `  ✓ it is signed by issuer "${server.issuer}", and for "cambist"`,
    `  ✓ the backend ${new URL(backend).origin} answers`,
    '      sub: "alice"',
    `      aud: "${backend}"`,
    `  ✓ its "aud" is "${backend}": the backend's audience is in it`,
  ]) {
    assert.ok(stdout.split('\n').includes(said), `${said}\n${stdout}`);
  }
  assert.match(stdout, /cambist\.json: no problem found\n$/);
  assert.ok(!stdout.includes('\u001b'), 'no colour where nobody looks');
  const leaks = createLeakWatch();
  leaks.remember(token);
  leaks.remember(SECRET);
  leaks.assertNoLeak({ stdout });
  assert.ok(!/eyJ[\w-]+\.[\w-]+\./.test(stdout), 'nor the issued token');
});

test('a subject token can be had from standard input, as into a container that has no shell', async (t) => {
  const { config, server } = await startScene(t);
  const input = `${await server.issueSubjectToken({ sub: 'alice', audience: 'cambist' })}\n`;
  const args = ['doctor', '--config', config, '--route', 'github', '--subject-token-file', '-'];
  const { code, stdout } = await runCommand(args, { input });
  assert.equal(code, 0, stdout);
  assert.match(stdout, /subject token from standard input: iss/);
});

test('what is wrong gives exit code 1, and a machine gets it with stable codes', async (t) => {
  const { server, write, doctor } = await startScene(t);
  const file = await write('token', await server.issueSubjectToken({ sub: 'alice', audience: 'cambist' }));
  const { code, stdout } = await doctor('--subject-token-file', file, '--json');
  const said = JSON.parse(stdout) as { healthy: boolean; findings: Record<string, unknown>[] };
  assert.deepEqual([code, said.healthy], [1, false]);
  const [wrong] = said.findings.filter(({ severity }) => severity === 'error');
  assert.deepEqual([wrong?.about, wrong?.code], [{ kind: 'route', name: 'docs' }, 'resource_refused']);
  assert.deepEqual(Object.keys(wrong ?? {}), ['about', 'severity', 'code', 'what', 'why', 'fix']);
});

test('without a subject token all else is checked, and the exit code is 0', async (t) => {
  const { doctor } = await startScene(t);
  const { code, stdout } = await doctor();
  assert.equal(code, 0);
  assert.match(stdout, /client "cambist" .* is accepted/);
  assert.equal(stdout.match(/\[subject_token_missing\]/g)?.length, 2);
  assert.match(stdout, /no problem found; 2 to look at or not checked\n$/);
});

test('wrong usage is told as that: an unknown route with those that there are, a file that is not there', async (t) => {
  const { doctor } = await startScene(t);
  const route = await doctor('--route', 'gihtub');
  assert.deepEqual([route.code, route.stdout], [2, '']);
  assert.match(route.stderr, /no route "gihtub": it is one of github, docs/);
  const file = await doctor('--subject-token-file', '/nowhere/token');
  assert.equal(file.code, 2);
  assert.match(file.stderr, /"\/nowhere\/token" cannot be read/);
});

test('what has no end is not read to it: a token is 64 KiB at most, from a file and from standard input', async (t) => {
  const { config, write, doctor } = await startScene(t);
  const short = await doctor('--subject-token-file', await write('short', `Bearer ${'a'.repeat(65_529)}`));
  assert.match(short.stdout, /subject token from .*short: opaque/);
  const long = await doctor('--subject-token-file', await write('long', `Bearer ${'a'.repeat(65_530)}`));
  const endless = await doctor('--subject-token-file', '/dev/zero');
  const args = ['doctor', '--config', config, '--subject-token-file', '-'];
  const piped = await runCommand(args, { input: 'a'.repeat(1024 * 1024) });
  for (const { code, stdout, stderr } of [long, endless, piped]) {
    assert.deepEqual([code, stdout], [2, '']);
    assert.match(stderr, /"(\S+|standard input)" is longer than 64 KiB, and so is no token: name a file/);
  }
});

test('a config that is wrong is told as validate tells it, and nobody is asked', async (t) => {
  const { write } = await startScene(t);
  const file = await write('bad.yaml', 'version: 1\nroutes: []\n');
  const { code, stdout, stderr } = await runCommand(['doctor', '--config', file]);
  assert.deepEqual([code, stdout], [1, '']);
  assert.ok(stderr.startsWith(`${file}:2:9: `));
});

test('the doctor ends by itself though a backend says nothing as it is connected to, however long that may take', async (t) => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => void sockets.add(socket.on('error', () => {})));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    return closeServer(silent);
  });
  const upstream = `https://localhost:${(await listen(silent)).port}`;
  const route = { upstream, credential: 'none', timeouts: { connect: 0 } };
  const routes = [
    { ...route, name: 'old', match: { path: '/old' } },
    { ...route, name: 'new', match: { path: '/new' }, http2: true },
  ];
  const { write } = await startScene(t);
  const file = await write('component.json', JSON.stringify({ version: 1, routes }));
  const { code, stdout } = await soon('its end', runCommand(['doctor', '--config', file]), 30_000);
  assert.equal(code, 0);
  assert.equal(stdout.match(/\[backend_silent\]/g)?.length, 2);
});
