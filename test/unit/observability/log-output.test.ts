import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { pbkdf2 } from 'node:crypto';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLogOutput, type LossLine } from '../../../src/observability/log-output.ts';
import { eventually } from '../../harness/eventually.ts';

/** As plain as can be. */
const lossLine: LossLine = (count, fault) => `${count} lost${fault instanceof Error ? `: ${fault.message}` : ''}\n`;

function folder(t: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), 'cambist-log-'));
  t.after(() => rmSync(made, { recursive: true }));
  return made;
}

/** A file to write to, and what it holds. */
function startFile(t: TestContext, batchLength: number) {
  const path = join(folder(t), 'log');
  const fd = openSync(path, 'a');
  t.after(() => closeSync(fd));
  return { output: createLogOutput(fd, batchLength, lossLine), text: () => readFileSync(path, 'utf8') };
}

/** A pipe that is read when the test does. */
function startPipe(t: TestContext, batchLength: number) {
  const path = join(folder(t), 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  let isOpen = true;
  const leave = () => {
    if (isOpen) closeSync(reader);
    isOpen = false;
  };
  t.after(() => {
    reading?.kill();
    leave();
    closeSync(fd);
  });
  const bytes = Buffer.alloc(1024 * 1024);
  /** All that is in it now. */
  const read = (): string => {
    try {
      const length = readSync(reader, bytes);
      return bytes.toString('utf8', 0, length);
    } catch {
      return '';
    }
  };
  /** Reads all as it comes, until something holds of all that was read so. */
  let reading: ChildProcess | undefined;
  const readUntil = async (what: string, holds: (taken: string) => boolean) => {
    const file = openSync(`${path}.taken`, 'a+');
    // Never ended before the test is: what it has read and not yet written would be gone with it.
    reading ??= spawn('cat', [path], { stdio: ['ignore', file, 'inherit'] });
    closeSync(file);
    const taken = () => readFileSync(`${path}.taken`, 'utf8');
    await eventually(what, () => holds(taken()), TAKING_MS);
    return taken();
  };
  return { output: createLogOutput(fd, batchLength, lossLine), read, readUntil, leave };
}

/** A disk that is full or has room as the test says: /dev/full, and a file in its place. */
function startDisk(t: TestContext, batchLength: number) {
  const path = join(folder(t), 'log');
  const fd = openSync('/dev/full', 'a');
  t.after(() => closeSync(fd));
  const replace = (by: string) => {
    closeSync(fd);
    const others: number[] = [];
    // The lowest number that is free is given out first: sooner or later this one.
    for (let next = openSync(by, 'a'); next !== fd; next = openSync(by, 'a')) others.push(next);
    for (const other of others) closeSync(other);
  };
  return {
    output: createLogOutput(fd, batchLength, lossLine),
    makeRoom: () => replace(path),
    fill: () => replace('/dev/full'),
    text: () => readFileSync(path, 'utf8'),
  };
}

/** Takes a thread for some time. */
function derived(): Promise<void> {
  return new Promise((resolve) => pbkdf2('password', 'salt', 200_000, 32, 'sha256', () => resolve()));
}

/** Of 16 MiB, a pipe's content each time. */
const TAKING_MS = 30_000;

const line = (index: number): string => `line ${index} ü 𝄞 ${'x'.repeat(1000)}\n`;
const upTo = (count: number): string => Array.from({ length: count }, (_, index) => line(index)).join('');

test('each line is written by itself where a batch is one', async (t) => {
  const { output, text } = startFile(t, 1);
  output.write('one\n');
  await eventually('it is there', () => text() === 'one\n');
});

test('what is less than a batch is written soon', async (t) => {
  const { output, text } = startFile(t, 8192);
  output.write('one\n');
  assert.equal(text(), '');
  await eventually('it is there', () => text() === 'one\n');
});

test('lines keep their order, in batches and by a flush', (t) => {
  const { output, text } = startFile(t, 4096);
  for (let i = 0; i < 103; i += 1) output.write(line(i));
  output.flushSync();
  assert.equal(text(), upTo(103));
  output.write(line(103));
  output.flushSync();
  assert.equal(text(), upTo(104));
  assert.equal(output.linesLost(), 0);
});

test('a slow reader gets every line, whole and in order, and nothing is written twice', async (t) => {
  const { output, read } = startPipe(t, 8192);
  for (let i = 0; i < 500; i += 1) output.write(line(i));
  let received = '';
  await eventually('all has come', () => {
    received += read();
    return received.length >= upTo(500).length;
  });
  assert.equal(received, upTo(500));
  assert.equal(output.linesLost(), 0);
});

test('when a flush has returned all is written in order, however busy the threads of Node are', async (t) => {
  const { output, text } = startFile(t, 4096);
  const busy = Array.from({ length: 8 }, () => derived());
  for (let i = 0; i < 6; i += 1) output.write(line(i));
  output.flushSync();
  assert.equal(text(), upTo(6));
  await Promise.all(busy);
  assert.equal(text(), upTo(6));
});

/** What is wrong with a full disk. */
const FULL = 'ENOSPC: no space left on device, write';

const BIG = `${'y'.repeat(1024 * 1024 - 1)}\n`;

/** @returns how many of its lines there are before each line that says how many are lost, with that line between */
function summary(text: string): (number | string)[] {
  const parts: (number | string)[] = [];
  for (const [, big, other] of text.matchAll(/(y+)\n|(.*)\n/g)) {
    if (big === undefined) {
      parts.push(other ?? '');
      continue;
    }
    assert.equal(big.length, BIG.length - 1, 'a line is torn');
    const last = parts.at(-1);
    if (typeof last === 'number') parts[parts.length - 1] = last + 1;
    else parts.push(1);
  }
  return parts;
}

test('of what nobody has taken yet, all beyond 16 MiB is dropped and counted, and a line says how much is missing there', async (t) => {
  const { output, readUntil } = startPipe(t, 8192);
  for (let i = 0; i < 40; i += 1) output.write(BIG);
  const lost = output.linesLost();
  assert.ok(lost >= 40 - 18 && lost <= 40 - 16, String(lost));
  await readUntil('there is room for more', (taken) => taken.length > 4 * BIG.length);
  output.write('and on\n');
  const taken = await readUntil('it goes on', (text) => text.endsWith('and on\n'));
  assert.deepEqual(summary(taken), [40 - lost, `${lost} lost`, 'and on']);
  assert.equal(output.linesLost(), lost);
});

test('what a full disk does not take waits, and comes whole and in order when there is room', async (t) => {
  const { output, makeRoom, text } = startDisk(t, 4096);
  for (let i = 0; i < 100; i += 1) output.write(line(i));
  makeRoom();
  output.write(line(100));
  await eventually('all is there', () => text() === upTo(101));
  assert.equal(output.linesLost(), 0);
});

test('what is more than 16 MiB while a disk is full is counted, and a line says how much is missing, and why', async (t) => {
  const { output, makeRoom, text } = startDisk(t, 4096);
  for (let i = 0; i < 40; i += 1) output.write(BIG);
  const lost = output.linesLost();
  assert.ok(lost >= 40 - 18 && lost <= 40 - 16, String(lost));
  makeRoom();
  await eventually('it says so', () => text().endsWith(`${FULL}\n`));
  output.write('and on\n');
  output.flushSync();
  assert.deepEqual(summary(text()), [40 - lost, `${lost} lost: ${FULL}`, 'and on']);
});

test('each time when lines are missing, a line says how many since the last one', async (t) => {
  const { output, makeRoom, fill, text } = startDisk(t, 4096);
  const expected: (number | string)[] = [];
  let lost = 0;
  for (const count of [20, 25]) {
    fill();
    for (let i = 0; i < count; i += 1) output.write(BIG);
    const more = output.linesLost() - lost;
    lost += more;
    expected.push(count - more, `${more} lost: ${FULL}`);
    makeRoom();
    await eventually('it says so', () => text().endsWith(`\n${more} lost: ${FULL}\n`));
    assert.deepEqual(summary(text()), expected);
  }
});

test('a disk that stays full holds up a flush for a second at most, and then nothing', (t) => {
  const { output } = startDisk(t, 8192);
  output.write('lost\n');
  output.flushSync();
  output.write('lost, too\n');
  output.flushSync();
  assert.equal(output.linesLost(), 2);
});

test('a reader that does not read holds up a flush for a second at most, and then nothing', (t) => {
  const { output, read } = startPipe(t, 8192);
  for (let i = 0; i < 500; i += 1) output.write(line(i));
  output.flushSync();
  output.write(line(500));
  output.flushSync();
  const whole = read().split('\n').length - 1;
  assert.ok(whole > 0);
  assert.equal(output.linesLost(), 501 - whole);
});

for (const way of ['a flush', 'a batch'] as const) {
  test(`a reader that is gone is found out by ${way}, and lines are then dropped and counted`, (t) => {
    const { output, leave } = startPipe(t, 8192);
    leave();
    const count = way === 'a flush' ? 1 : 100;
    for (let i = 0; i < count; i += 1) output.write(line(i));
    if (way === 'a flush') output.flushSync();
    assert.equal(output.linesLost(), count);
    output.write('lost, too\n');
    assert.equal(output.linesLost(), count + 1);
  });
}
