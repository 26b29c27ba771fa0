import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { soon } from '../harness/eventually.ts';
import { startFakeAuthorizationServer } from '../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../harness/fake-upstream.ts';
import { startHttpServer } from '../harness/http-server.ts';
import { createLeakWatch } from '../harness/leaks.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';

const AGENT = fileURLToPath(new URL('clients/proxied-agent.mjs', import.meta.url));
/** Only a failing test waits this long. */
const LIMIT_MS = 120_000;

const ROUTES = `routes:
  - { name: away, match: { host: mcp.example.com }, upstream: 'http://127.0.0.1:1', credential: none }
`;

function folderWith(t: TestContext, config: string): string {
  const folder = temporaryFolder(t);
  writeFileSync(join(folder, 'cambist.yaml'), config);
  return folder;
}

interface ExecOptions {
  readonly config?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly log?: boolean;
}

/** The last lines of exec if its command called no backend. Most tests leave them out. */
const NOTICE =
  /cambist: \S+ warn {2}no request of the command reached a route; it may bypass cambist\n +fix: .*config\/intercept\.md.*\n$/;

/** Starts `cambist exec -- COMMAND` with pipes. */
function startExec(t: TestContext, command: readonly string[], { config = ROUTES, env = {}, log }: ExecOptions = {}) {
  const folder = folderWith(t, `version: 1\n${config}`);
  const logFile = join(folder, 'log');
  const args = ['exec', '--config', join(folder, 'cambist.yaml'), ...(log ? ['--log', logFile] : []), '--', ...command];
  const child = spawn(process.execPath, [BUILT_PROGRAM, ...args], { env: { ...process.env, ...env }, stdio: 'pipe' });
  t.after(() => child.kill('SIGKILL'));
  const output = Promise.all([text(child.stdout), text(child.stderr), exitOf(child)]);
  const finished = (): Promise<{ stdout: string; stderr: string; code: number | null; log: string }> =>
    soon(
      'the command has finished',
      output.then(([stdout, stderr, code]) => ({
        stdout,
        stderr: stderr.replace(NOTICE, ''),
        code,
        log: existsSync(logFile) ? readFileSync(logFile, 'utf8') : '',
      })),
      LIMIT_MS,
    );
  const isNoticed = async (): Promise<boolean> => NOTICE.test((await output)[1]);
  return { child, finished, isNoticed };
}

function exitOf(child: ChildProcess): Promise<number | null> {
  return new Promise((resolve) => child.once('exit', resolve));
}

const node = (script: string): string[] => [process.execPath, '-e', script];

test('exec says at the end that no request of its command reached a route', async (t) => {
  const bypassing = startExec(t, node(''));
  await bypassing.finished();
  assert.equal(await bypassing.isNoticed(), true);
  const routed = startExec(t, [process.execPath, AGENT, 'https://mcp.example.com/mcp']);
  assert.equal((await routed.finished()).code, 0);
  assert.equal(await routed.isNoticed(), false);
});

test('exec waits for the audit records of its last requests', async (t) => {
  const collector = await startHttpServer((request, response) => {
    request.resume().on('end', () => setTimeout(() => response.end(), 1000));
  });
  t.after(collector.close);
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  const agent = [process.execPath, AGENT, 'https://mcp.example.com/mcp'];
  const { code, stderr } = await startExec(t, agent, { config: `audit: { to: otlp }\n${ROUTES}`, env }).finished();
  assert.equal(code, 0);
  assert.doesNotMatch(stderr, /lost/);
});

for (const [what, command, config, expected, message] of [
  ['the exit code of the command', node('process.exit(7)'), ROUTES, 7, /^$/],
  [
    '128 and the number of the signal that ended the command',
    node("process.kill(process.pid, 'SIGKILL')"),
    ROUTES,
    128 + constants.signals.SIGKILL,
    /^$/,
  ],
  [
    '127 if the program does not exist',
    ['/nowhere/agent'],
    ROUTES,
    127,
    /^cambist: cannot run "\/nowhere\/agent": no such program\n$/,
  ],
  ['2 without a command', [], ROUTES, 2, /exec takes a command after "--"/],
  ['1 with an invalid config', node(''), 'routes: []\n', 1, /routes/],
] as const) {
  test(`exec exits with ${what}`, async (t) => {
    const { code, stdout, stderr } = await startExec(t, command, { config }).finished();
    assert.deepEqual([code, stdout], [expected, '']);
    assert.match(stderr, message);
  });
}

test('exec passes arguments, standard input and both outputs unchanged', async (t) => {
  const script =
    'process.stderr.write("to stderr"); console.log(JSON.stringify(process.argv.slice(1))); process.stdin.pipe(process.stdout)';
  const { child, finished } = startExec(t, [...node(script), '--', '--help', '-h', "a 'b'"]);
  child.stdin?.end('from stdin');
  const { stdout, stderr, code } = await finished();
  assert.equal(stdout, `["--help","-h","a 'b'"]\nfrom stdin`);
  assert.equal(stderr, 'to stderr');
  assert.equal(code, 0);
});

test('exec leaves the pipes of the command blocking', async (t) => {
  const script =
    'const fs = require("fs"); for (let i = 0; i < 40; i++) fs.writeSync(1, Buffer.alloc(64 * 1024, "x"));';
  const { stdout, code } = await startExec(t, node(script)).finished();
  assert.deepEqual([stdout.length, code], [40 * 64 * 1024, 0]);
});

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR2'] as const) {
  test(`exec forwards ${signal}, and waits for the command to finish`, async (t) => {
    const script = `process.once('${signal}', () => setTimeout(() => { console.log('cleaned up'); process.exit(3) }, 50)); setInterval(() => {}, 1000); console.log('ready')`;
    const { child, finished } = startExec(t, node(script));
    await new Promise((resolve) => child.stdout?.once('data', resolve));
    child.kill(signal);
    assert.deepEqual(await finished(), { stdout: 'ready\ncleaned up\n', stderr: '', code: 3, log: '' });
  });
}

test('exec sends Ctrl-C of a terminal to the command once, and keeps the terminal', async (t) => {
  const folder = folderWith(t, `version: 1\n${ROUTES}`);
  const script = join(folder, 'agent.cjs');
  writeFileSync(
    script,
    `let count = 0;
process.on('SIGINT', () => { count += 1; setTimeout(() => { console.log('signals: ' + count); process.exit(5) }, 300) });
setInterval(() => {}, 1000);
console.log('terminals: ' + [0, 1, 2].map((fd) => require('node:tty').isatty(fd)));`,
  );
  const command = `${process.execPath} ${BUILT_PROGRAM} exec --config ${join(folder, 'cambist.yaml')} -- ${process.execPath} ${script}`;
  const terminal = spawn('script', ['-qec', `exec ${command}`, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => terminal.kill('SIGKILL'));
  let printed = '';
  const ready = new Promise<void>((resolve) =>
    terminal.stdout.on('data', (chunk: Buffer) => {
      printed += chunk;
      if (printed.includes('terminals')) resolve();
    }),
  );
  await soon('the command is ready', ready, LIMIT_MS);
  terminal.stdin.write('\u0003');
  const code = await soon('the command has finished', exitOf(terminal), LIMIT_MS);
  assert.match(printed, /terminals: true,true,true/);
  assert.match(printed, /signals: 1\r?\n/);
  assert.equal(code, 5);
});

test('exec exchanges the token of calls to https URLs, and shows the command none of its own secrets', async (t) => {
  const authorizationServer = await startFakeAuthorizationServer(t);
  const upstream = await startFakeUpstream(t, echo);
  const leaks = createLeakWatch();
  const token = await authorizationServer.mint();
  leaks.remember(token);
  leaks.remember('the-secret-of-cambist');
  const config = `authorization_servers:
  local:
    token_endpoint: ${authorizationServer.tokenEndpoint}
    client_id: cambist
    client_auth: { method: client_secret_post, client_secret: { env: CAMBIST_CLIENT_SECRET } }
routes:
  - { name: tools, match: { host: mcp.example.com }, upstream: '${upstream.url}' }
`;
  const env = { AGENT_TOKEN: token, CAMBIST_CLIENT_SECRET: 'the-secret-of-cambist' };
  const { finished } = startExec(t, [process.execPath, AGENT, 'https://mcp.example.com/mcp'], {
    config,
    env,
    log: true,
  });
  const { stdout, stderr, code, log } = await finished();
  assert.equal(code, 0, stderr);
  const { status, environment } = JSON.parse(stdout);
  assert.equal(status, 200);
  assert.deepEqual(upstream.requests[0]?.authorization, [`Bearer ${authorizationServer.requests[0]?.issued}`]);
  assert.equal(environment.CAMBIST_CLIENT_SECRET, undefined);
  assert.match(environment.HTTPS_PROXY, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.ok(!existsSync(environment.SSL_CERT_FILE), 'the trust folder is removed');
  assert.match(log, /"way_in":"proxy","status":200/);
  leaks.assertNoLeak({ log, stderr });
});
