import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { startFakeSetup } from '../harness/fake-setup.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { BUILT_PROGRAM, runCommand } from '../harness/run-command.ts';

const CONFIG = `version: 1
listen: 127.0.0.1:0
admin: 127.0.0.1:0
routes:
  - { name: away, match: { path: /away }, upstream: 'http://127.0.0.1:1', credential: none }
`;

function configFile(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'cambist-terminal-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, 'cambist.yaml');
  writeFileSync(file, CONFIG);
  return file;
}

/** Runs the program, on a terminal where util-linux's `script` makes one; gives what it has printed so far. */
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
    // To the program a hang-up is a reload: it would outlive a terminal that was killed. This is Ctrl-C.
    if (options.terminal) child.stdin.write('\u0003');
    else child.kill('SIGKILL');
    await closed;
  });
  return { child, closed, printed: () => printed };
}

/** How many lines of its log a program says that nobody got. */
async function linesLost(adminUrl: string): Promise<number> {
  return sumSamples(await (await fetch(`${adminUrl}/metrics`)).text(), 'cambist_log_lines_lost_total');
}

/** Also of one whose parent has not asked yet how it ended. */
function hasEnded(pid: number): boolean {
  const stat = `/proc/${pid}/stat`;
  return !existsSync(stat) || readFileSync(stat, 'utf8').includes(') Z ');
}

const isLinux = process.platform === 'linux' ? false : 'needs the "script" of util-linux';

test('on a terminal the log is text in colours', { skip: isLinux }, async (t) => {
  const { printed } = start(t, [], { terminal: true });
  await eventually('it listens', () => /cambist is listening/.test(printed()));
  assert.ok(printed().includes('\u001b[0m \u001b[32minfo \u001b[0m cambist is listening'));
});

for (const env of [{ NO_COLOR: '1' }, { TERM: 'dumb' }]) {
  test(`with ${JSON.stringify(env)} there is no colour on a terminal either`, { skip: isLinux }, async (t) => {
    const { printed } = start(t, [], { terminal: true, env });
    await eventually('it listens', () => /info {2}cambist is listening/.test(printed()));
    assert.ok(!printed().includes('\u001b'));
  });
}

test('on a terminal JSON can be had', { skip: isLinux }, async (t) => {
  const { printed } = start(t, ['--log-format', 'json'], { terminal: true });
  await eventually('it listens', () => /"msg":"cambist is listening"/.test(printed()));
});

for (const [state, signal] of [
  ['is gone', 'SIGKILL'],
  ['is stopped', 'SIGSTOP'],
] as const) {
  for (const format of ['json', 'text']) {
    const title = `a terminal that ${state} keeps the program neither from serving nor from ending: log in ${format}`;
    test(title, { skip: isLinux }, async (t) => {
      const run = `${process.execPath} ${BUILT_PROGRAM} run --log-format ${format} --config ${configFile(t)}`;
      const command = `echo pid=$$; exec env NO_COLOR=1 ${run}`;
      const child = spawn('script', ['-qec', command, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'] });
      const closed = once(child, 'close');
      let printed = '';
      child.stdout.on('data', (chunk: Buffer) => {
        printed += chunk;
      });
      await eventually('it listens', () => /listen\W+http/.test(printed));
      const pid = Number(/pid=(\d+)/.exec(printed)?.[1]);
      t.after(async () => {
        if (!hasEnded(pid)) process.kill(pid, 'SIGKILL');
        child.kill('SIGKILL');
        await closed;
      });
      const [, url = ''] = /listen\W+?(http:[\w.:/]+)/.exec(printed) ?? [];
      child.kill(signal);
      if (signal === 'SIGKILL') await closed;
      // More lines than a terminal holds.
      for (let i = 0; i < 10; i += 1) {
        const answers = await Promise.all(Array.from({ length: 50 }, () => call(`${url}/away`)));
        assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([502]));
      }
      // One that is stopped may go on: its lines wait.
      const [, admin = ''] = /admin\W+?(http:[\w.:/]+)/.exec(printed) ?? [];
      await eventually('lines that nobody will ever read are counted, and no other', async () => {
        return (await linesLost(admin)) > 0 === (state === 'is gone');
      });
      process.kill(pid, 'SIGTERM');
      await eventually('it has ended', () => hasEnded(pid));
    });
  }
}

/** Throws where nobody catches it, on SIGUSR2. */
const FAULT = `data:text/javascript,${encodeURIComponent("process.on('SIGUSR2', () => { throw new Error('a fault of a test'); });")}`;

/** What becomes of the reader of a pipe when it has read the first line. */
const READERS = { leaves: 'head -n 1', 'reads no more': '{ read -r line; echo "$line"; exec sleep 60; }' };

/** Starts the program with such a reader. Node's own pipes are sockets, which tell when their reader leaves. */
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
    /** Of the exit. */
    async code() {
      await eventually('it has ended', () => existsSync(`${file}.code`) && readFileSync(`${file}.code`, 'utf8') !== '');
      return Number(readFileSync(`${file}.code`, 'utf8'));
    },
  };
}

for (const format of ['json', 'text']) {
  test(`a reader that leaves right before a fatal line does not keep the program from ending, ${format}`, async (t) => {
    const { signal, code } = await startPiped(t, 'leaves', format);
    signal('SIGUSR2');
    assert.equal(await code(), 1);
  });

  test(`a reader that leaves keeps the program neither from serving nor from ending, ${format}`, async (t) => {
    const { url, admin, signal, code } = await startPiped(t, 'leaves', format);
    for (let i = 0; i < 3; i += 1) assert.equal((await call(`${url}/away`)).status, 502);
    await eventually('the lines are counted that nobody got', async () => (await linesLost(admin)) > 0);
    signal('SIGTERM');
    assert.equal(await code(), 0);
  });
}

for (const [name, expected] of [
  ['SIGTERM', 0],
  ['SIGUSR2', 1],
] as const) {
  test(`a reader that reads no more does not keep the program from ending by ${name}`, async (t) => {
    const { url, signal, code } = await startPiped(t, 'reads no more', 'json');
    // More than the pipe holds.
    for (let i = 0; i < 10; i += 1) await Promise.all(Array.from({ length: 50 }, () => call(`${url}/away`)));
    signal(name);
    assert.equal(await code(), expected);
  });
}

test('elsewhere the log is JSON, and text without colours can be had', async (t) => {
  const json = start(t, []);
  await eventually('it listens', () => /^\{.*"msg":"cambist is listening"\}$/m.test(json.printed()));
  const text = start(t, ['--log-format=text']);
  await eventually('it listens', () => /info {2}cambist is listening/.test(text.printed()));
  const [, url = ''] = /listen=(\S+)/.exec(text.printed()) ?? [];
  await call(`${url}/away`);
  await eventually('the request is told', () => /error GET away 502 ERR_UPSTREAM_UNREACHABLE/.test(text.printed()));
  assert.match(text.printed(), /^ {19}route "away": the upstream cannot be reached/m);
  assert.ok(!text.printed().includes('\u001b'));
});

test('a format that there is not is wrong usage', async () => {
  const { code, stderr } = await runCommand(['run', '--log-format', 'xml']);
  assert.equal(code, 2);
  assert.match(stderr, /invalid --log-format "xml": use auto, json or text/);
});

test('a single line is written at once, though lines are written in batches', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const { requestId } = await setup.call();
  await setup.cambist.waitForLog(({ request_id }) => request_id === requestId, 2000);
});

test('every line is written before the process ends, also where a signal cuts the end short', async (t) => {
  const setup = await startFakeSetup();
  t.after(setup.close);
  const sent: string[] = [];
  for (let i = 0; i < 20; i += 1) sent.push((await setup.call()).requestId);
  setup.cambist.signal('SIGTERM');
  assert.deepEqual(await setup.cambist.exit, { code: 0, signal: null });
  const logged = setup.cambist.logs().map(({ request_id }) => request_id);
  for (const id of sent) assert.ok(logged.includes(id), id);
  assert.equal(setup.cambist.logs().at(-1)?.msg, 'cambist has stopped');
});

test('a fault that nobody caught is written, with all that was waiting', async (t) => {
  const setup = await startFakeSetup({ env: { NODE_OPTIONS: `--import ${FAULT}` } });
  t.after(setup.close);
  const { requestId } = await setup.call();
  setup.cambist.signal('SIGUSR2');
  assert.equal((await setup.cambist.exit).code, 1);
  const logs = setup.cambist.logs();
  assert.ok(logs.some(({ request_id }) => request_id === requestId));
  assert.deepEqual([logs.at(-1)?.level, logs.at(-1)?.msg], ['fatal', 'unexpected error; exiting']);
});
