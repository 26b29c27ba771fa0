import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { DecisionRow } from '../../src/admin/decision-report.ts';
import { tail } from '../../src/commands/tail.ts';
import { callCommand } from '../harness/call-command.ts';
import { createCertificateAuthority } from '../harness/certificates.ts';
import { eventually } from '../harness/eventually.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { freePort, serve } from '../harness/http-server.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';

const authority = createCertificateAuthority();

async function start(t: TestContext) {
  const admin = `127.0.0.1:${await freePort()}`;
  return startFakeSetup(t, { change: (config) => ({ ...config, admin }) });
}

test('prints the last decisions as text and as JSON, filtered by route and code, without characters that control the line', async (t) => {
  const setup = await start(t);
  const early = await callCommand(tail, ['--config', setup.cambist.configFile]);
  assert.deepEqual([early.code, early.stdout, early.stderr], [0, '', 'no request has arrived yet\n']);
  await setup.call({ headers: await setup.bearer() });
  await setup.call();
  await setup.call({ path: '/nowhere' });
  const config = ['--config', setup.cambist.configFile];
  const all = await callCommand(tail, [...config]);
  assert.deepEqual([all.code, all.stderr], [0, '']);
  const [forwarded = '', refused = '', unmatched = ''] = all.stdout.trimEnd().split('\n');
  assert.match(
    forwarded,
    /^\S+Z 200 forwarded tools \(any host, path \/tools\) cache=miss exchange=\d+ms asked=\[resource http:/,
  );
  assert.match(refused, / 401 ERR_SUBJECT_TOKEN_MISSING tools /);
  assert.match(unmatched, / 403 ERR_ROUTE_NOT_FOUND \(not routed\)$/);
  const errorsOf = async (...flags: string[]): Promise<unknown[]> => {
    const { stdout } = await callCommand(tail, [...config, '--json', ...flags]);
    const lines = stdout.split('\n').filter((line) => line !== '');
    return lines.map((line) => (JSON.parse(line) as DecisionRow).error);
  };
  assert.deepEqual(await errorsOf('--route', 'tools', '--code', '4xx'), ['ERR_SUBJECT_TOKEN_MISSING']);
  assert.deepEqual(await errorsOf('--code', '403'), ['ERR_ROUTE_NOT_FOUND']);
  assert.deepEqual(await errorsOf('--code', 'ERR_SUBJECT_TOKEN_MISSING'), ['ERR_SUBJECT_TOKEN_MISSING']);
  const other = await callCommand(tail, [...config, '--route', 'tolls']);
  assert.deepEqual([other.code, other.stdout], [0, '']);
  assert.equal(other.stderr, 'the config has no route "tolls": known routes are tools\nno recent request matches\n');
  const wrong = await callCommand(tail, [...config, '--code', 'teapot']);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /--code takes a status/);

  const scope = 'read \u001b[2J\u202efdp\u2066\u200b\u2028\ufeffend';
  setup.authorizationServer.behaviour = { kind: 'issue', fields: { scope } };
  assert.equal((await setup.call({ headers: await setup.bearer() })).status, 200);
  const { stdout } = await callCommand(tail, config);
  assert.match(stdout, /scope read \?\[2J\?fdp\?\?\?\?end\]\n$/);
  const [line = ''] = (await callCommand(tail, ['--json', ...config])).stdout.trimEnd().split('\n').slice(-1);
  assert.match(line, /"scope":"read \\u001b\[2J\\u202efdp\\u2066\\u200b\\u2028\\ufeffend"/);
  assert.equal((JSON.parse(line) as DecisionRow).granted?.scope, scope);
});

test('needs no config with --admin, and says so if the config is broken', async (t) => {
  const setup = await start(t);
  await setup.call({ path: '/nowhere' });
  const admin = new URL(setup.cambist.adminUrl).host;
  await writeFile(setup.cambist.configFile, 'version: 1\nroutes: [');
  const broken = await callCommand(tail, ['--config', setup.cambist.configFile]);
  assert.deepEqual([broken.code, broken.stdout], [1, '']);
  assert.match(
    broken.stderr,
    /\ncambist tail: to read a running cambist without the config, add --admin with its address\n$/,
  );
  const { code, stdout } = await callCommand(tail, ['--config', setup.cambist.configFile, '--admin', admin]);
  assert.equal(code, 0);
  assert.match(stdout, / 403 ERR_ROUTE_NOT_FOUND /);
  const wrong = await callCommand(tail, ['--admin', 'http://127.0.0.1:9180']);
  assert.equal(wrong.code, 2);
  assert.match(wrong.stderr, /--admin: must be host:port, as in /);
});

test('reports a server that is not the admin listener, prints nothing of its response, and reads at most 16 MiB', async (t) => {
  let body: string | undefined = '';
  let sent = 0;
  const server = createServer((_request, response) => {
    if (body !== undefined) return response.end(body);
    const more = (): void => {
      sent += 1;
      if (!response.destroyed) response.write(Buffer.alloc(1024 * 1024, ' '), more);
    };
    return more();
  });
  const { port } = await serve(t, server);
  for (body of ['\u001b[2Jowned', '{}', 'null', '{"last":1,"missed":0,"decisions":{}}', undefined]) {
    const { code, stdout, stderr } = await callCommand(tail, ['--admin', `127.0.0.1:${port}`]);
    assert.deepEqual([code, stdout], [1, ''], body);
    assert.match(
      stderr,
      /^cambist tail: the listener at \S+ is not the admin listener of cambist: check the address\n$/,
    );
    assert.doesNotMatch(stderr, /owned/);
  }
  assert.ok(sent < 64);
});

test('reads an admin listener with TLS, and trusts the configured certificate alone', async (t) => {
  const [own, other] = [authority.issueServer(), authority.issueServer()];
  const tls = { certificate: { file: 'tls.crt' }, private_key: { file: 'tls.key' } };
  const admin = `127.0.0.1:${await freePort()}`;
  const setup = await startFakeSetup(t, {
    change: (config) => ({ ...config, admin: { address: admin, tls } }),
    files: { 'tls.crt': own.cert, 'tls.key': own.key, 'other.crt': other.cert },
    ready: false,
  });
  await setup.call({ path: '/nowhere' });
  const { configFile, directory } = setup.cambist;
  const { code, stdout } = await callCommand(tail, ['--config', configFile]);
  assert.equal(code, 0);
  assert.match(stdout, / 403 ERR_ROUTE_NOT_FOUND /);
  const written = (await readFile(configFile, 'utf8')).replace('tls.crt', 'other.crt');
  const another = join(directory, 'another.yaml');
  await writeFile(another, written);
  const refused = await callCommand(tail, ['--config', another]);
  assert.deepEqual([refused.code, refused.stdout], [1, '']);
  assert.equal(
    refused.stderr,
    `cambist tail: the listener at ${admin} has another certificate than the file in admin.tls\n`,
  );
});

test('follows further decisions until cambist is gone', async (t) => {
  const setup = await start(t);
  const child = spawn(process.execPath, [BUILT_PROGRAM, 'tail', '-f', '--config', setup.cambist.configFile]);
  t.after(() => child.kill('SIGKILL'));
  const output: string[] = [];
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => output.push(text));
  const closed = once(child, 'close');
  await setup.call({ path: '/first' });
  await eventually('the first decision is printed', () => output.join('').split('ERR_ROUTE_NOT_FOUND').length === 2);
  await setup.call({ path: '/second' });
  await eventually('the second decision is printed', () => output.join('').split('ERR_ROUTE_NOT_FOUND').length === 3);
  setup.cambist.signal('SIGTERM');
  const [code] = (await closed) as [number];
  assert.equal(code, 1);
  assert.match(output.join(''), /cambist tail: cannot reach the admin listener at 127\.0\.0\.1:\d+/);
});
