import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { pbkdf2 } from 'node:crypto';
import { closeSync, constants, openSync, readFileSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLogLevelControl } from '../../../src/observability/log-level.ts';
import { createLogOutput } from '../../../src/observability/log-output.ts';
import { lossLine } from '../../../src/observability/logger.ts';
import { eventually } from '../../harness/eventually.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { loggerWithLines } from './log-lines.ts';

/** A file to write to, and its content. */
function startFile(t: TestContext, batchLength: number) {
  const path = join(temporaryFolder(t), 'log');
  const fd = openSync(path, 'a');
  t.after(() => closeSync(fd));
  return { output: createLogOutput(fd, batchLength, lossLine), text: () => readFileSync(path, 'utf8') };
}

/** A pipe whose reader is the test. */
function startPipe(t: TestContext, batchLength: number) {
  const path = join(temporaryFolder(t), 'pipe');
  execFileSync('mkfifo', [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const fd = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
  let isOpen = true;
  const leave = () => {
    if (isOpen) closeSync(reader);
    isOpen = false;
  };
  t.after(() => {
    leave();
    closeSync(fd);
  });
  const bytes = Buffer.alloc(1024 * 1024);
  /** Reads everything that is in the pipe. */
  const read = (): string => {
    try {
      const length = readSync(reader, bytes);
      return bytes.toString('utf8', 0, length);
    } catch {
      return '';
    }
  };
  return { output: createLogOutput(fd, batchLength, lossLine), read, leave };
}

/** A disk that the test fills and empties: /dev/full, or a file in its place. */
function startDisk(t: TestContext, batchLength: number) {
  const path = join(temporaryFolder(t), 'log');
  const fd = openSync('/dev/full', 'a');
  t.after(() => closeSync(fd));
  const replace = (by: string) => {
    closeSync(fd);
    const others: number[] = [];
    // The lowest unused number is assigned first, so at some point this one.
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

/** Blocks a thread for some time. */
function derived(): Promise<void> {
  return new Promise((resolve) => pbkdf2('password', 'salt', 200_000, 32, 'sha256', () => resolve()));
}

const line = (index: number): string => `line ${index} ü 𝄞 ${'x'.repeat(1000)}\n`;
const upTo = (count: number): string => Array.from({ length: count }, (_, index) => line(index)).join('');

test('writes each line at once if a batch is one line', (t) => {
  const { output, text } = startFile(t, 1);
  output.write('one\n');
  assert.equal(text(), 'one\n');
});

test('writes an incomplete batch soon', async (t) => {
  const { output, text } = startFile(t, 8192);
  output.write('one\n');
  assert.equal(text(), '');
  await eventually('it is there', () => text() === 'one\n');
});

test('gives a slow reader every line once, complete and in order', async (t) => {
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

test('has written all lines in order when a flush returns, even if the threads of Node are busy', async (t) => {
  const { output, text } = startFile(t, 4096);
  const busy = Array.from({ length: 8 }, () => derived());
  for (let i = 0; i < 103; i += 1) output.write(line(i));
  output.flushSync();
  assert.equal(text(), upTo(103));
  await Promise.all(busy);
  output.write(line(103));
  output.flushSync();
  assert.equal(text(), upTo(104));
  assert.equal(output.linesLost(), 0);
});

/** The report of lines that a full disk lost. */
function lostOnFullDisk(lines_lost: number) {
  const err = { code: 'ENOSPC', message: 'ENOSPC: no space left on device, write' };
  return { level: 'error', lines_lost, err, msg: 'log lines lost here' };
}

const BIG = `${'y'.repeat(1024 * 1024 - 1)}\n`;

/** @returns the number of lines before each report of lost lines, and the reports, alternating */
function summary(text: string): (number | object)[] {
  const parts: (number | object)[] = [];
  for (const [, big, other = ''] of text.matchAll(/(y+)\n|(.*)\n/g)) {
    if (big === undefined) {
      const { time: _, ...report } = JSON.parse(other);
      parts.push(report);
      continue;
    }
    assert.equal(big.length, BIG.length - 1, 'a line is torn');
    const last = parts.at(-1);
    if (typeof last === 'number') parts[parts.length - 1] = last + 1;
    else parts.push(1);
  }
  return parts;
}

test('drops and counts lines beyond 16 MiB for a full disk, and reports those since the last report at each gap', async (t) => {
  const { output, makeRoom, fill, text } = startDisk(t, 4096);
  const expected: (number | object)[] = [];
  let lost = 0;
  for (const count of [20, 25]) {
    fill();
    for (let i = 0; i < count; i += 1) output.write(BIG);
    const more = output.linesLost() - lost;
    lost += more;
    assert.ok(more >= count - 18 && more <= count - 16, String(more));
    expected.push(count - more, lostOnFullDisk(more));
    makeRoom();
    await eventually('it says so', () => text().includes(`"lines_lost":${more},`));
    assert.deepEqual(summary(text()), expected);
  }
});

test('waits at most a second in a flush for a full disk, and then not again', (t) => {
  const { output } = startDisk(t, 8192);
  output.write('lost\n');
  output.flushSync();
  output.write('lost, too\n');
  output.flushSync();
  assert.equal(output.linesLost(), 2);
});

test('waits at most a second in a flush for a reader, and then not again', (t) => {
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
  test(`notices a closed reader by ${way}, and then drops and counts lines`, (t) => {
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

test('writes JSON lines with the name of the level and an ISO time, without process and host, from its level on', () => {
  const { logger, lines } = loggerWithLines();
  logger.level = 'info';
  logger.debug('below');
  logger.info({ route: 'github' }, 'request');
  const [line, ...others] = lines;
  assert.match(String(line?.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.deepEqual([{ ...line, time: '' }, ...others], [{ level: 'info', time: '', route: 'github', msg: 'request' }]);
});

test('keeps a changed level over a reload that configures the same one', () => {
  const { logger } = loggerWithLines();
  logger.level = 'warn';
  const control = createLogLevelControl(logger);
  assert.equal(control.change('debug'), true);
  control.configure('warn');
  assert.deepEqual([control.level, control.configured], ['debug', 'warn']);
  control.configure('error');
  assert.deepEqual([control.level, control.configured], ['error', 'error']);
});

test('logs the change even where no other line is written', () => {
  const { logger, lines } = loggerWithLines();
  logger.level = 'silent';
  const control = createLogLevelControl(logger);
  control.change('error');
  control.change('error');
  control.change('silent');
  logger.error({}, 'unseen');
  assert.deepEqual(
    lines.map(({ from, to }) => `${from} to ${to}`),
    ['silent to error', 'error to silent'],
  );
});
