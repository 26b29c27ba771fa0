import assert from 'node:assert/strict';
import { execFileSync, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { eventually } from '../harness/eventually.ts';
import { call } from '../harness/http-call.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { sumSamples } from '../harness/metric-samples.ts';
import { BUILT_PROGRAM } from '../harness/run-command.ts';

const CONFIG = `version: 1
limits: { max_in_flight: 1000 } # fits the process's limit of open files, so the log has no line about it
listen: 127.0.0.1:0
admin: 127.0.0.1:0
routes:
  - { name: away, match: { path: /away }, upstream: 'http://127.0.0.1:1', credential: none }
`;

/** Runs the program with an open file as standard output. `taken` returns the content that has arrived there. */
async function start(t: TestContext, stdout: number, taken: () => string, format: string, shell = '') {
  const file = join(temporaryFolder(t), 'cambist.yaml');
  writeFileSync(file, CONFIG);
  const args = [process.execPath, BUILT_PROGRAM, 'run', '--config', file, '--log-format', format];
  const options: SpawnOptions = { stdio: ['ignore', stdout, 'inherit'] };
  const child = spawn('/bin/sh', ['-c', `${shell}exec "$@"`, 'sh', ...args], options);
  const closed = once(child, 'close');
  t.after(async () => {
    child.kill('SIGKILL');
    await closed;
  });
  await eventually('the program listens', () => taken().includes('cambist is listening'));
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

/** A pipe with a reader that the test starts and stops, and the text that it has read. */
function createPipe(t: TestContext) {
  const path = join(temporaryFolder(t), 'pipe');
  execFileSync('mkfifo', [path]);
  // A writer needs a reader at all times.
  const held = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const pipe = openSync(path, 'w');
  const taken = openSync(`${path}.taken`, 'a');
  t.after(() => [held, pipe, taken].forEach((fd) => void closeSync(fd)));
  return {
    pipe,
    taken: () => readFileSync(`${path}.taken`, 'utf8'),
    /** Starts a reader. @returns a function that stops it */
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

/** A route, to which mistakes are added. */
const WRONG_ROUTE = `  - name: wrong
    match: { path: /wrong }
    upstream: 'http://127.0.0.1:1'
    credential: none
`;
/** Each mistake causes a log line that lists the keys of a route. Together they exceed the 16 MiB that wait for a reader. */
const MISTAKES = 45_000;
/** Too long to be compared with the keys, which would take most of the time. */
const LONG = 'mistake'.padEnd(70, '_');

for (const format of ['json', 'text']) {
  test(`counts lost lines, and logs their number in their place: ${format}`, async (t) => {
    const { pipe, taken, read } = createPipe(t);
    const leave = read();
    const cambist = await start(t, pipe, taken, format);
    await leave();
    const mistakes = Array.from({ length: MISTAKES }, (_, i) => `    ${LONG}${i}: 1\n`);
    cambist.rewriteConfig(CONFIG + WRONG_ROUTE + mistakes.join(''));
    const reloaded = () => cambist.metric('cambist_config_last_reload_successful');
    await eventually('all mistakes are found', async () => (await reloaded()) === 0, 60_000);
    assert.equal((await cambist.call()).status, 502);
    const lost = await cambist.metric('cambist_log_lines_lost_total');
    assert.ok(lost > 0);
    read();
    const said = format === 'json' ? `"lines_lost":${lost},"msg":"log lines lost here"` : `lines_lost=${lost}`;
    await eventually('the log reports the lost lines', () => taken().includes(said), 60_000);
    cambist.signal('SIGTERM');
    await cambist.closed;
    await eventually('everything is read', () => taken().includes('cambist has stopped'));
    const lines = taken().split('\n').slice(0, -1);
    // Start, failed reload, request, lost lines, and two lines of the shutdown. In text format, the start has two more lines and
    // the request four.
    const all = MISTAKES + 6 + (format === 'text' ? 6 : 0);
    assert.equal(lines.length + lost, all);
    assert.equal(lines.filter((line) => line.includes('log lines lost here')).length, 1);
    const place = lines.findIndex((line) => line.includes(said));
    assert.ok(lines.slice(format === 'text' ? 3 : 1, place).every((line) => line.includes('unknown key')));
    assert.match(lines.slice(place + 1).join('\n'), /^.*shutting down.*\n.*has stopped.*$/);
  });
}

test('writes all pending lines once a full file accepts data again', async (t) => {
  const path = join(temporaryFolder(t), 'log');
  const file = openSync(path, 'a');
  t.after(() => closeSync(file));
  const taken = () => readFileSync(path, 'utf8');
  // The unit is 512 bytes. A write beyond the limit fails as on a full disk.
  const cambist = await start(t, file, taken, 'json', 'ulimit -S -f 4; ');
  for (let i = 0; i < 20; i += 1) assert.equal((await cambist.call()).status, 502);
  await eventually('the file is full', () => statSync(path).size === 4 * 512);
  assert.equal((await cambist.call()).status, 502);
  execFileSync('prlimit', [`--pid=${cambist.pid}`, '--fsize=unlimited:']);
  const requests = () => taken().split('"msg":"request"').length - 1;
  await eventually('every line has arrived', () => requests() === 21);
  for (const line of taken().trimEnd().split('\n')) JSON.parse(line);
  assert.equal(await cambist.metric('cambist_log_lines_lost_total'), 0);
  cambist.signal('SIGTERM');
  assert.deepEqual(await cambist.closed, [0, null]);
});
