import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { call } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';

const CONFIG = `version: 1
listen: 127.0.0.1:0
admin: 127.0.0.1:0
routes:
  - { name: away, match: { path: /away }, upstream: 'http://127.0.0.1:1', credential: none }
`;

function configFile(t: TestContext): string {
  const folder = temporaryFolder(t);
  const file = join(folder, 'cambist.yaml');
  writeFileSync(file, CONFIG);
  return file;
}

/** Runs the program, optionally on a terminal that `script` of util-linux creates. `printed` returns the output so far. */
function start(
  t: TestContext,
  args: readonly string[],
  options: { terminal?: boolean; env?: Record<string, string> } = {},
) {
  const command = [process.execPath, BUILT_PROGRAM, 'run', '--config', configFile(t), ...args];
  const [program = '', ...rest] = options.terminal
    ? ['script', '-qec', `exec ${command.join(' ')}`, '/dev/null']
    : command;
  const { NO_COLOR: _, ...env } = process.env;
  const child = spawn(program, rest, {
    env: { ...env, TERM: 'xterm', ...options.env },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => {
    printed += chunk;
  });
  const closed = once(child, 'close');
  t.after(async () => {
    // Sends Ctrl-C. A killed terminal would send SIGHUP, which only reloads the config.
    if (options.terminal) child.stdin.write('\u0003');
    else child.kill('SIGKILL');
    await closed;
  });
  return { child, closed, printed: () => printed };
}

/** The number of lost log lines that the program reports. */
async function linesLost(adminUrl: string): Promise<number> {
  return sumSamples(await (await fetch(`${adminUrl}/metrics`)).text(), 'cambist_log_lines_lost_total');
}

/** Has the process exited? A zombie counts as exited. */
function hasExited(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return true;
  }
}

const notLinux = process.platform === 'linux' ? false : 'needs the "script" of util-linux';

for (const [what, args, env, expected] of [
  ['coloured text', [], {}, '\u001b[0m \u001b[32minfo \u001b[0m cambist is listening'],
  ['text without colours with NO_COLOR', [], { NO_COLOR: '1' }, 'info  cambist is listening'],
  ['text without colours with TERM=dumb', [], { TERM: 'dumb' }, 'info  cambist is listening'],
  ['JSON with --log-format json', ['--log-format', 'json'], {}, '"msg":"cambist is listening"'],
] as const) {
  test(`logs ${what} on a terminal`, { skip: notLinux }, async (t) => {
    const { printed } = start(t, args, { terminal: true, env });
    await eventually('the program listens', () => printed().includes(expected));
    assert.equal(printed().includes('\u001b'), expected.includes('\u001b'));
  });
}

for (const [state, signal, format] of [
  ['is gone', 'SIGKILL', 'json'],
  ['is stopped', 'SIGSTOP', 'text'],
] as const) {
  test(`serves and exits although its terminal ${state}: log in ${format}`, { skip: notLinux }, async (t) => {
    const run = `${process.execPath} ${BUILT_PROGRAM} run --log-format ${format} --config ${configFile(t)}`;
    const command = `echo pid=$$; exec env NO_COLOR=1 ${run}`;
    const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
    const closed = once(child, 'close');
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk;
    });
    await eventually('the program listens', () => /listen\W+http/.test(printed));
    const pid = Number(/pid=(\d+)/.exec(printed)?.[1]);
    t.after(async () => {
      if (!hasExited(pid)) process.kill(pid, 'SIGKILL');
      child.kill('SIGKILL');
      await closed;
    });
    const [, url = ''] = /listen\W+?(http:[\w.:/]+)/.exec(printed) ?? [];
    child.kill(signal);
    if (signal === 'SIGKILL') await closed;
    // More lines than a terminal buffers.
    for (let i = 0; i < 10; i += 1) {
      const answers = await Promise.all(Array.from({ length: 50 }, () => call(`${url}/away`)));
      assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([502]));
    }
    // A stopped terminal may continue, so its lines are kept.
    const [, admin = ''] = /admin\W+?(http:[\w.:/]+)/.exec(printed) ?? [];
    await eventually('only lost lines are counted', async () => {
      return (await linesLost(admin)) > 0 === (state === 'is gone');
    });
    process.kill(pid, 'SIGTERM');
    await eventually('the program has exited', () => hasExited(pid));
  });
}

/** Throws an uncaught error on SIGUSR2. */
const FAULT = `data:text/javascript,${encodeURIComponent("process.on('SIGUSR2', () => { throw new Error('a fault of a test'); });")}`;

/** The behaviour of a pipe's reader after the first line. */
const READERS = { leaves: 'head -n 1', 'reads no more': '{ read -r line; echo "$line"; exec sleep 60; }' };

/** Starts the program with a reader on a real pipe. Node's own pipes are sockets, which report when the reader leaves. */
async function startPiped(t: TestContext, reader: keyof typeof READERS, format: string) {
  const file = configFile(t);
  const program = `exec ${process.execPath} ${BUILT_PROGRAM} run --config ${file} --log-format ${format}`;
  const command = `{ sh -c 'echo $$ > ${file}.pid; ${program}'; echo $? > ${file}.code; } | ${READERS[reader]}`;
  const env = { ...process.env, NODE_OPTIONS: `--import ${FAULT}` };
  const child = spawn('/bin/sh', ['-c', command], { env, stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const closed = once(child, 'close');
  t.after(async () => {
    if (child.exitCode === null) process.kill(-Number(child.pid), 'SIGKILL');
    await closed;
  });
  const [line] = await once(child.stdout, 'data');
  const [url = '', admin = ''] = String(line).match(/http:\/\/[\d.:]+/g) ?? [];
  return {
    url,
    admin,
    signal: (signal: NodeJS.Signals) => process.kill(Number(readFileSync(`${file}.pid`, 'utf8')), signal),
    /** The exit code. */
    async code() {
      await eventually(
        'the program has exited',
        () => existsSync(`${file}.code`) && readFileSync(`${file}.code`, 'utf8') !== '',
      );
      return Number(readFileSync(`${file}.code`, 'utf8'));
    },
  };
}

test('exits although its reader leaves right before a fatal line', async (t) => {
  const { signal, code } = await startPiped(t, 'leaves', 'text');
  signal('SIGUSR2');
  assert.equal(await code(), 1);
});

test('serves and exits although its reader leaves', async (t) => {
  const { url, admin, signal, code } = await startPiped(t, 'leaves', 'json');
  for (let i = 0; i < 3; i += 1) assert.equal((await call(`${url}/away`)).status, 502);
  await eventually('the lost lines are counted', async () => (await linesLost(admin)) > 0);
  signal('SIGTERM');
  assert.equal(await code(), 0);
});

for (const [name, expected] of [
  ['SIGTERM', 0],
  ['SIGUSR2', 1],
] as const) {
  test(`exits on ${name} although its reader stops reading`, async (t) => {
    const { url, signal, code } = await startPiped(t, 'reads no more', 'json');
    // More than the pipe buffers.
    for (let i = 0; i < 10; i += 1) await Promise.all(Array.from({ length: 50 }, () => call(`${url}/away`)));
    signal(name);
    assert.equal(await code(), expected);
  });
}

test('logs JSON without a terminal, and text without colours on request', async (t) => {
  const json = start(t, []);
  await eventually('the program listens', () => /^\{.*"msg":"cambist is listening"\}$/m.test(json.printed()));
  const text = start(t, ['--log-format=text']);
  await eventually('the program listens', () => /info {2}cambist is listening/.test(text.printed()));
  const [, url = ''] = /listen=(\S+)/.exec(text.printed()) ?? [];
  await call(`${url}/away`);
  await eventually('the request is logged', () => /error GET away 502 ERR_UPSTREAM_UNREACHABLE/.test(text.printed()));
  assert.match(text.printed(), /^ {19}route "away": the upstream cannot be reached/m);
  assert.ok(!text.printed().includes('\u001b'));
});

test('writes an uncaught error and all pending lines', async (t) => {
  const setup = await startFakeSetup(t, { env: { NODE_OPTIONS: `--import ${FAULT}` } });
  const { requestId } = await setup.call();
  setup.cambist.signal('SIGUSR2');
  assert.equal((await setup.cambist.exit).code, 1);
  const logs = setup.cambist.logs();
  assert.ok(logs.some(({ request_id }) => request_id === requestId));
  assert.deepEqual([logs.at(-1)?.level, logs.at(-1)?.msg], ['fatal', 'unexpected error; exiting']);
});
