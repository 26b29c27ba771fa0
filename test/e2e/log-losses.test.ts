import assert from 'node:assert/strict';
import { execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { call } from '../harness/http-call.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';

const CONFIG = `version: 1
listen: 127.0.0.1:0
admin: 127.0.0.1:0
routes:
  - { name: away, match: { path: /away }, upstream: 'http://127.0.0.1:1', credential: none }
`;

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'cambist-log-'));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

/** Runs the program; its standard output is a file that is open, and `taken` gives what is known to be in it. */
async function start(t: TestContext, stdout: number, taken: () => string, format: string, shell = '') {
  const file = join(folder(t), 'cambist.yaml');
  writeFileSync(file, CONFIG);
  const args = [process.execPath, BUILT_PROGRAM, 'run', '--config', file, '--log-format', format];
  const options: SpawnOptions = { stdio: ['ignore', stdout, 'inherit'] };
  const child = spawn('/bin/sh', ['-c', `${shell}exec "$@"`, 'sh', ...args], options);
  const closed = once(child, 'close');
  t.after(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  await eventually('it listens', () => taken().includes('cambist is listening'));
  const [url = '', admin = ''] = taken().match(/http:\/\/[\d.:]+/g) ?? [];
  return {
    pid: child.pid ?? 0,
    closed,
    call: () => call(`${url}/away`),
    rewriteConfig(text: string) {
      writeFileSync(`${file}.draft`, text);
      renameSync(`${file}.draft`, file);
    },
    metric: async (name: string) => sumSamples(await (await fetch(`${admin}/metrics`)).text(), name),
    signal: (signal: NodeJS.Signals) => void child.kill(signal),
  };
}

/** A pipe, what was taken out of it, and a reader that comes and goes. */
function createPipe(t: TestContext) {
  const path = join(folder(t), 'pipe');
  execFileSync('mkfifo', [path]);
  // So that nobody finds the pipe without a reader.
  const held = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const pipe = openSync(path, 'w');
  const taken = openSync(`${path}.taken`, 'a');
  t.after(() => [held, pipe, taken].forEach((fd) => void closeSync(fd)));
  return {
    pipe,
    taken: () => readFileSync(`${path}.taken`, 'utf8'),
    /** @returns what takes the reader away */
    read() {
      const reader = spawn('cat', [path], { stdio: ['ignore', taken, 'inherit'] });
      const ended = once(reader, 'exit');
      t.after(() => reader.kill());
      return async () => {
        reader.kill();
        await ended;
      };
    },
  };
}

/** Each is a line of the log: together they are more than the 16 MiB that wait for a reader. */
const MISTAKES = 90_000;

for (const format of ['json', 'text']) {
  test(`lines that a slow reader never gets are counted, and the log says how many where they are missing: ${format}`, async (t) => {
    const { pipe, taken, read } = createPipe(t);
    const leave = read();
    const cambist = await start(t, pipe, taken, format);
    await leave();
    cambist.rewriteConfig(CONFIG + Array.from({ length: MISTAKES }, (_, i) => `mistake${i}: 1\n`).join(''));
    const reloaded = () => cambist.metric('cambist_config_last_reload_successful');
    await eventually('all mistakes are found', async () => (await reloaded()) === 0, 60_000);
    assert.equal((await cambist.call()).status, 502);
    const lost = await cambist.metric('cambist_log_lines_lost_total');
    assert.ok(lost > 0);
    read();
    const said = format === 'json' ? `"lines_lost":${lost},"msg":"log lines lost here"` : `lines_lost=${lost}`;
    await eventually('it says so', () => taken().includes(said), 60_000);
    cambist.signal('SIGTERM');
    await cambist.closed;
    await eventually('all is read', () => taken().includes('cambist has stopped'));
    const lines = taken().split('\n').slice(0, -1);
    // The start, the reload that failed, the request, what says so, and two of the end; as text a request has its reasons below.
    const all = MISTAKES + 6 + (format === 'text' ? 2 : 0);
    assert.equal(lines.length + lost, all);
    assert.equal(lines.filter((line) => line.includes('log lines lost here')).length, 1);
    const place = lines.findIndex((line) => line.includes(said));
    assert.ok(lines.slice(1, place).every((line) => line.includes('unknown key')));
    assert.match(lines.slice(place + 1).join('\n'), /^.*shutting down.*\n.*has stopped.*$/);
  });
}

test('a file that takes no more gets all that was not written yet when it does again', async (t) => {
  const path = join(folder(t), 'log');
  const file = openSync(path, 'a');
  t.after(() => closeSync(file));
  const taken = () => readFileSync(path, 'utf8');
  // In units of 512 bytes. It fails a write as a full disk does, and needs no disk of its own.
  const cambist = await start(t, file, taken, 'json', 'ulimit -S -f 4; ');
  for (let i = 0; i < 20; i += 1) assert.equal((await cambist.call()).status, 502);
  await eventually('the file is full', () => statSync(path).size === 4 * 512);
  assert.equal((await cambist.call()).status, 502);
  execFileSync('prlimit', [`--pid=${cambist.pid}`, '--fsize=unlimited:']);
  const requests = () => taken().split('"msg":"request"').length - 1;
  await eventually('all is there', () => requests() === 21);
  for (const line of taken().trimEnd().split('\n')) JSON.parse(line);
  assert.equal(await cambist.metric('cambist_log_lines_lost_total'), 0);
  cambist.signal('SIGTERM');
  assert.deepEqual(await cambist.closed, [0, null]);
});
