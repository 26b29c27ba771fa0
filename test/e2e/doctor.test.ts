import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { doctor } from '../../src/commands/doctor.ts';
import { startAuthorizationServer } from '../harness/authorization-server.ts';
import { callCommand } from '../harness/call-command.ts';
import { soon } from '../harness/eventually.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { serve } from '../harness/http-server.ts';
import { createLeakWatch } from '../harness/leaks.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { runCommand } from '../harness/run-command.ts';

const SECRET = 'the-client-secret-of-this-test';

async function startScene(t: TestContext) {
  const upstream = await startFakeUpstream(t, echo);
  const backend = `${upstream.url}/mcp`;
  const server = await startAuthorizationServer({
    clients: { cambist: { method: 'client_secret_basic', secret: SECRET } },
    resources: { [backend]: { scopes: ['mcp'] } },
  });
  t.after(server.close);
  const folder = temporaryFolder(t);
  const write = async (name: string, content: string): Promise<string> => {
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
    /** Without standard input, which has to be a real one. */
    check: (...args: string[]) => callCommand(doctor, ['--config', file, ...args]),
  };
}

test('reports each step and the claims of a token from standard input, but no token or secret, and exits with 0', async (t) => {
  const { backend, config, server } = await startScene(t);
  const token = await server.issueSubjectToken({ sub: 'alice', audience: ['agent', 'cambist'] });
  const args = ['doctor', '--config', config, '--route', 'github', '--subject-token-file', '-'];
  const { code, stdout, stderr } = await runCommand(args, { input: `Bearer ${token}\n` });
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

test('exits with 1 on a problem, prints stable codes with --json, and reports a wrong config as validate does', async (t) => {
  const { server, write, check } = await startScene(t);
  const file = await write('token', await server.issueSubjectToken({ sub: 'alice', audience: 'cambist' }));
  const { code, stdout } = await check('--subject-token-file', file, '--json');
  const report = JSON.parse(stdout) as { healthy: boolean; findings: Record<string, unknown>[] };
  assert.deepEqual([code, report.healthy], [1, false]);
  const [wrong] = report.findings.filter(({ severity }) => severity === 'error');
  assert.deepEqual([wrong?.about, wrong?.code], [{ kind: 'route', name: 'docs' }, 'resource_refused']);
  assert.deepEqual(Object.keys(wrong ?? {}), ['about', 'severity', 'code', 'what', 'why', 'fix']);
  const config = await write('bad.yaml', 'version: 1\nroutes: []\n');
  const bad = await callCommand(doctor, ['--config', config]);
  assert.deepEqual([bad.code, bad.stdout], [1, '']);
  assert.ok(bad.stderr.startsWith(`${config}:2:9: `));
});

test('exits with 2 on an unknown route, on other flags, or on a file without a token', async (t) => {
  const { check, config, write } = await startScene(t);
  const args = ['doctor', '--config', config, '--subject-token-file', '-'];
  const piped = await runCommand(args, { input: 'a'.repeat(1024 * 1024) });
  assert.equal(piped.code, 2);
  assert.match(piped.stderr, /"standard input" is longer than 64 KiB/);
  for (const [args, why] of [
    [['--route', 'gihtub'], /unknown route "gihtub": the config has github, docs/],
    [['--trust', '--route', 'github'], /--trust takes no --route/],
    [['--subject-token-file', '/nowhere/token'], /"\/nowhere\/token" cannot be read/],
    [['--subject-token-file', await write('empty', ' \n')], /is empty: name a file that contains a token/],
    [['--subject-token-file', await write('json', '{"access_token":"eyJ"}')], /contains other text than a token/],
    [['--subject-token-file', await write('long', `Bearer ${'a'.repeat(65_530)}`)], /long" is longer than 64 KiB/],
    [['--subject-token-file', '/dev/zero'], /"\/dev\/zero" is longer than 64 KiB, too long for a token: name a file/],
  ] as const) {
    const { code, stdout, stderr } = await check(...args);
    assert.deepEqual([code, stdout], [2, ''], args.join(' '));
    assert.match(stderr, why);
  }
  const longest = await check('--subject-token-file', await write('longest', `Bearer ${'a'.repeat(65_529)}`));
  assert.match(longest.stdout, /subject token from .*longest is opaque/);
});

test('exits despite a backend that never responds and has no connect timeout', async (t) => {
  const upstream = `https://localhost:${(await serve(t, createServer())).port}`;
  const routes = [{ name: 'a', match: { path: '/' }, upstream, credential: 'none', timeouts: { connect: 0 } }];
  const { write } = await startScene(t);
  const file = await write('silent.json', JSON.stringify({ version: 1, routes }));
  const { code, stdout } = await soon('the exit', runCommand(['doctor', '--config', file]), 30_000);
  assert.equal(code, 0);
  assert.match(stdout, /\[backend_silent\]/);
});
