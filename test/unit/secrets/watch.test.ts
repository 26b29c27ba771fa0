import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import fs from 'node:fs';
import { mkdir, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLogger } from '../../../src/observability/logger.ts';
import { watchFiles } from '../../../src/secrets/watch.ts';
import { temporaryFolder } from '../../harness/temporary-folder.ts';

/** Debounce of the watcher. */
const DEBOUNCE_MS = 100;

const { watch } = fs;
// The watcher gets mock timers. The test itself needs real ones.
const { setInterval: startInterval, clearInterval: endInterval } = globalThis;

const POLL_MS = 60_000;

/** The form of `fs.watch` that the watcher calls. */
type Watch = (folder: string, options: { persistent: boolean }, listener: fs.WatchListener<string>) => fs.FSWatcher;

test('notices a change that follows the first read at once', async (t) => {
  const file = join(temporaryFolder(t), 'config');
  fs.writeFileSync(file, 'one');
  let changes = 0;
  const logger = createLogger('warn', { write() {} });
  const watcher = watchFiles({ files: () => [file], onChange: () => (changes += 1), logger });
  t.after(() => watcher.close());
  fs.writeFileSync(file, 'two');
  await watcher.check();
  assert.equal(changes, 1);
});

/**
 * Starts a watcher and counts its changes. Only the test advances time. It waits for real events, however long they take on a
 * busy machine.
 */
async function startWatching(t: TestContext, files: () => readonly string[], replacement: Watch = watch) {
  let changes = 0;
  const lines: string[] = [];
  const logger = createLogger('warn', { write: (line) => void lines.push(line) });
  const happened = new EventEmitter();
  // The watcher does not keep the process alive.
  const keepAlive = startInterval(() => undefined, 50);
  t.after(() => endInterval(keepAlive));
  const events = replaceWatch(t, replacement, () => happened.emit('event'));
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const onChange = () => {
    changes += 1;
    happened.emit('change');
  };
  const watcher = watchFiles({ files, onChange, pollMs: POLL_MS, logger });
  t.after(() => watcher.close());
  await watcher.check();

  let seen = 0;
  /** Waits for an event of the operating system, and ends the debounce. */
  const heard = async () => {
    while (events() === seen) await once(happened, 'event');
    seen = events();
    t.mock.timers.tick(DEBOUNCE_MS);
  };
  const polled = () => t.mock.timers.tick(POLL_MS);
  /** Waits for this total of changes, and checks that there are no more. */
  const changed = async (count: number) => {
    while (changes < count) await once(happened, 'change');
    await watcher.check();
    seen = events();
    assert.equal(changes, count);
  };
  return { heard, polled, changed, watcher, lines };
}

/** Replaces `fs.watch` until the end of the test. @returns the number of events so far */
function replaceWatch(t: TestContext, replacement: Watch, onEvent: () => void): () => number {
  let events = 0;
  const spied: Watch = (folder, options, listener) =>
    replacement(folder, options, (...event) => {
      events += 1;
      listener(...event);
      onEvent();
    });
  const mock = t.mock.method(fs, 'watch', spied);
  syncBuiltinESMExports();
  t.after(() => {
    // The next call would otherwise give mock timers to whatever runs later in this process.
    t.mock.timers.reset();
    mock.mock.restore();
    syncBuiltinESMExports();
  });
  return () => events;
}

test('reports a file once that is written, or replaced as by editors', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'c.yaml');
  await writeFile(file, 'one');
  const { heard, changed } = await startWatching(t, () => [file, file]);
  await writeFile(file, 'two');
  await heard();
  await changed(1);
  await writeFile(join(folder, '.c.yaml.swp'), 'three');
  await rename(join(folder, '.c.yaml.swp'), file);
  await heard();
  await changed(2);
});

test('reports the swap of a ConfigMap once', async (t) => {
  const folder = temporaryFolder(t);
  const version = async (name: string, content: string) => {
    await mkdir(join(folder, name));
    await writeFile(join(folder, name, 'c.yaml'), content);
    await symlink(name, join(folder, '..data_tmp'));
    await rename(join(folder, '..data_tmp'), join(folder, '..data'));
  };
  await version('..2026_1', 'one');
  await symlink(join('..data', 'c.yaml'), join(folder, 'c.yaml'));
  const file = join(folder, 'c.yaml');
  const { heard, changed } = await startWatching(t, () => [file]);

  await version('..2026_2', 'two');
  await rm(join(folder, '..2026_1'), { recursive: true });
  await heard();
  await changed(1);
  assert.equal(await readFile(file, 'utf8'), 'two');
  await version('..2026_3', 'two');
  await heard();
  await changed(1);
  await version('..2026_4', 'three');
  await heard();
  await changed(2);
});

test('reports nothing if the content is unchanged or another file changes', async (t) => {
  const folder = temporaryFolder(t);
  const file = join(folder, 'c.yaml');
  await writeFile(file, 'one');
  const { heard, changed } = await startWatching(t, () => [file]);
  await writeFile(file, 'one');
  await utimes(file, new Date(), new Date());
  await writeFile(join(folder, 'other'), 'x');
  await heard();
  await changed(0);
});

test('reports that a file or folder disappears and returns', async (t) => {
  const folder = join(temporaryFolder(t), 'inner');
  const file = join(folder, 'c.yaml');
  await mkdir(folder);
  await writeFile(file, 'one');
  const { heard, polled, changed } = await startWatching(t, () => [file]);
  await rm(file);
  await heard();
  await changed(1);
  await writeFile(file, 'one');
  await heard();
  await changed(2);
  await rm(folder, { recursive: true });
  await heard();
  await changed(3);
  await mkdir(folder);
  await writeFile(file, 'two');
  polled();
  await changed(4);
  await writeFile(file, 'three');
  await heard();
  await changed(5);
});

test('notices changes by polling alone, also behind a link', async (t) => {
  const folder = temporaryFolder(t);
  await mkdir(join(folder, 'elsewhere'));
  await mkdir(join(folder, 'here'));
  await writeFile(join(folder, 'elsewhere', 'c.yaml'), 'one');
  await symlink(join(folder, 'elsewhere', 'c.yaml'), join(folder, 'here', 'c.yaml'));
  const { polled, changed } = await startWatching(t, () => [join(folder, 'here', 'c.yaml')]);
  await writeFile(join(folder, 'elsewhere', 'c.yaml'), 'two');
  polled();
  await changed(1);
});

test('watches other files after the list changes', async (t) => {
  const folder = temporaryFolder(t);
  const [first, second] = [join(folder, 'a', 'first'), join(folder, 'b', 'second')];
  await mkdir(join(folder, 'a'));
  await mkdir(join(folder, 'b'));
  await writeFile(first, 'one');
  await writeFile(second, 'one');
  let files = [first];
  const { heard, changed } = await startWatching(t, () => files);
  files = [second];
  await changed(0);
  await writeFile(first, 'two');
  await changed(0);
  await writeFile(second, 'two');
  await heard();
  await changed(1);
});

test('compares a large file by size and time', async (t) => {
  const file = join(temporaryFolder(t), 'large');
  const content = Buffer.alloc(8 * 1024 * 1024 + 1);
  await writeFile(file, content);
  const { heard, changed } = await startWatching(t, () => [file]);
  await writeFile(file, Buffer.concat([content, Buffer.from('x')]));
  await heard();
  await changed(1);
});

test('reports nothing after close', async (t) => {
  const file = join(temporaryFolder(t), 'c.yaml');
  await writeFile(file, 'one');
  const { polled, changed, watcher } = await startWatching(t, () => [file]);
  watcher.close();
  await writeFile(file, 'two');
  polled();
  await changed(0);
});

test('logs a failed check, and checks again', async (t) => {
  const file = join(temporaryFolder(t), 'c.yaml');
  await writeFile(file, 'one');
  let fails = false;
  const files = () => {
    if (fails) throw new Error('no list');
    return [file];
  };
  const { polled, changed, lines } = await startWatching(t, files);
  fails = true;
  await changed(0);
  assert.match(lines[0] ?? '', /checking for changed files failed/);
  fails = false;
  await writeFile(file, 'two');
  polled();
  await changed(1);
});

test('logs once that a folder cannot be watched, and keeps polling', async (t) => {
  const file = join(temporaryFolder(t), 'c.yaml');
  await writeFile(file, 'one');
  const { polled, changed, lines } = await startWatching(
    t,
    () => [file],
    () => {
      throw Object.assign(new Error('no watches left'), { code: 'ENOSPC' });
    },
  );
  await writeFile(file, 'two');
  polled();
  await changed(1);
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /"code":"ENOSPC".*cannot be watched/);
});

test('closes a broken watcher, and keeps polling', async (t) => {
  const file = join(temporaryFolder(t), 'c.yaml');
  await writeFile(file, 'one');
  const broken = new EventEmitter();
  let closed = 0;
  const watcher = Object.assign(broken, {
    close() {
      closed += 1;
    },
    ref: () => watcher,
    unref: () => watcher,
  });
  const { polled, changed, lines } = await startWatching(
    t,
    () => [file],
    () => watcher,
  );
  broken.emit('error', new Error('broken'));
  assert.equal(closed, 1);
  assert.match(lines[0] ?? '', /cannot be watched/);
  await writeFile(file, 'two');
  polled();
  await changed(1);
});
