import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { pbkdf2 } from 'node:crypto';
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLogOutput, type LogOutput } from '../../src/log-output.ts';
import { eventually, soon } from '../harness/eventually.ts';

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
  return { output: createLogOutput(fd, batchLength), text: () => readFileSync(path, 'utf8') };
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
  return { output: createLogOutput(fd, batchLength), read, leave };
}

function flushed(output: LogOutput): Promise<void> {
  return soon('all is written', new Promise((resolve) => output.flush(resolve)));
}

/** Takes a thread for some time. */
function derived(): Promise<void> {
  return new Promise((resolve) => pbkdf2('password', 'salt', 200_000, 32, 'sha256', () => resolve()));
}

const line = (index: number): string => `line ${index} ü 𝄞 ${'x'.repeat(1000)}\n`;
const upTo = (count: number): string => Array.from({ length: count }, (_, index) => line(index)).join('');

test('each line is written by itself where a batch is one', async (t) => {
  const { output, text } = startFile(t, 1);
  output.write('one\n');
  await eventually('it is there', () => text() === 'one\n');
});

test('what is less than a batch is written soon, and what flushes is told', async (t) => {
  const { output, text } = startFile(t, 8192);
  output.write('one\n');
  assert.equal(text(), '');
  await eventually('it is there', () => text() === 'one\n');
  output.write('two\n');
  await flushed(output);
  assert.equal(text(), 'one\ntwo\n');
  await flushed(output);
});

test('lines keep their order, in batches, by a flush, and by one that does not wait', async (t) => {
  const { output, text } = startFile(t, 4096);
  for (let i = 0; i < 100; i += 1) output.write(line(i));
  await flushed(output);
  for (let i = 100; i < 103; i += 1) output.write(line(i));
  output.flushSync();
  assert.equal(text(), upTo(103));
});

test('a slow reader gets every line, whole and in order, and nothing is written twice', async (t) => {
  const { output, read } = startPipe(t, 8192);
  for (let i = 0; i < 500; i += 1) output.write(line(i));
  let received = '';
  const done = flushed(output);
  await eventually('all has come', () => {
    received += read();
    return received.length >= upTo(500).length;
  });
  await done;
  assert.equal(received, upTo(500));
});

test('when a flush that does not wait has returned all is written in order, however busy the threads of Node are', async (t) => {
  const { output, text } = startFile(t, 4096);
  const busy = Array.from({ length: 8 }, () => derived());
  for (let i = 0; i < 6; i += 1) output.write(line(i));
  output.flushSync();
  assert.equal(text(), upTo(6));
  await Promise.all(busy);
  assert.equal(text(), upTo(6));
});

test('of what nobody has taken yet, all beyond 16 MiB is dropped, and nothing before it or after', async (t) => {
  const { output, read } = startPipe(t, 8192);
  const big = `${'y'.repeat(1024 * 1024 - 1)}\n`;
  for (let i = 0; i < 40; i += 1) output.write(big);
  let received = '';
  const reading = setInterval(() => {
    received += read();
  }, 1);
  t.after(() => clearInterval(reading));
  await new Promise<void>((resolve) => output.flush(resolve));
  clearInterval(reading);
  received += read();
  assert.ok(received.length >= 16 * big.length, String(received.length));
  assert.ok(received.length <= 18 * big.length, String(received.length));
  assert.equal(received, big.repeat(received.length / big.length));
  output.write('and on\n');
  await flushed(output);
  assert.equal(read(), 'and on\n');
});

test('a reader that does not read holds up a flush that does not wait for a second at most, and then nothing', (t) => {
  const { output } = startPipe(t, 8192);
  for (let i = 0; i < 500; i += 1) output.write(line(i));
  output.flushSync();
  output.write('more\n');
  output.flushSync();
});

for (const way of ['a flush', 'one that does not wait', 'a batch'] as const) {
  test(`a reader that is gone is found out by ${way}, and lines are then dropped`, async (t) => {
    const { output, leave } = startPipe(t, 8192);
    leave();
    output.write('lost\n');
    if (way === 'a flush') await flushed(output);
    else if (way === 'one that does not wait') output.flushSync();
    else for (let i = 0; i < 100; i += 1) output.write(line(i));
    await flushed(output);
    output.write('lost, too\n');
    output.flushSync();
    await flushed(output);
  });
}
