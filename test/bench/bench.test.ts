import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventually } from '../harness/eventually.ts';
import { temporaryFolder } from '../harness/lifetime.ts';
import { buildCommit, isSameBuild } from './other-build.ts';
import { keepCoresAwake, pinning, processesOf } from './processes.ts';
import { createMessageReader } from './programs/message-reader.ts';

const MESSAGES = Buffer.from(
  [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n10\r\n0123456789abcde0\r\n0\r\n\r\n',
    'HTTP/1.1 202 Accepted\r\n\r\n',
  ].join(''),
);

/** The chunks of a socket, if each message is requested after the previous one. */
function pieces(cuts: readonly number[]): Buffer[] {
  const starts = ['HTTP/1.1 201', 'HTTP/1.1 202'].map((text) => MESSAGES.indexOf(text));
  const bounds = [...new Set([0, ...starts, ...cuts, MESSAGES.length])].sort((a, b) => a - b);
  return bounds.slice(1).map((end, i) => MESSAGES.subarray(bounds[i], end));
}

test('separates messages for any division into chunks', () => {
  const cuts = fc.array(fc.integer({ min: 1, max: MESSAGES.length - 1 }), { maxLength: 12 });
  fc.assert(
    fc.property(cuts, (positions) => {
      const started: string[] = [];
      const finished: string[] = [];
      const read = createMessageReader(
        (headers) => started.push(headers.slice(9, 12)),
        (headers) => finished.push(headers.slice(9, 12)),
      );
      for (const piece of pieces(positions)) read(piece);
      assert.deepEqual(started, ['200', '201', '202']);
      assert.deepEqual(finished, ['200', '201', '202']);
    }),
  );
});

test('says why there is nothing to compare with, as in a shallow clone', (t) => {
  const build = buildCommit('no-such-revision', join(temporaryFolder(t), 'other'));
  assert.match('why' in build ? build.why : '', /"no-such-revision" is not here: this is the first commit/);
});

test('builds are the same if all that runs is the same', (t) => {
  const folder = temporaryFolder(t);
  const write = (name: string, files: Record<string, string>): string => {
    mkdirSync(join(folder, name));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, name, file), text);
    return join(folder, name);
  };
  const code = 'run("node_modules/any/index.js");\nend()';
  const one = write('one', { 'main.js': 'a', 'cambist.cjs': code, 'main.js.map': 'c' });
  const moved = 'run("../../x/node_modules/any/index.js")\n;end()';
  assert.ok(isSameBuild(one, write('moved', { 'main.js': 'a', 'cambist.cjs': moved, 'main.js.map': 'd' })));
  assert.ok(!isSameBuild(one, write('code', { 'main.js': 'a', 'cambist.cjs': `${code};`, 'main.js.map': 'c' })));
  assert.ok(!isSameBuild(one, write('more', { 'main.js': 'a', 'cambist.cjs': code, 'more.js': 'a' })));
});

const SCHED_IDLE = '5';

test('keeps each core awake by a process of the idle class, until it is told to stop', async () => {
  const before = new Set(processesOf(process.pid));
  const added = () => processesOf(process.pid).filter((pid) => !before.has(pid));
  const stop = keepCoresAwake();
  try {
    const expected = pinning === undefined ? 0 : 2;
    await eventually('each has the idle class', () => added().filter(isOfIdleClass).length === expected);
  } finally {
    stop();
  }
  await eventually('none is left', () => added().length === 0);
});

/** The policy is field 41 of `/proc/PID/stat`. The second field is the name in parentheses, which may contain spaces. */
function isOfIdleClass(pid: number): boolean {
  const [, afterName = ''] = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ');
  return afterName.split(' ')[41 - 3] === SCHED_IDLE;
}
