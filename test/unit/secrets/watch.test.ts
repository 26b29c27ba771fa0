import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import fs from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLogger } from '../../../src/observability/logger.ts';
import { watchFiles } from '../../../src/secrets/watch.ts';

/** Of a debounce, which waits for the rest of what belongs together. */
const DEBOUNCE_MS = 100;

const { watch } = fs;
// The timers of what is tested are those of the test, which moves them on.
const { setInterval: startInterval, clearInterval: endInterval } = globalThis;

async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'watch-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const POLL_MS = 60_000;

/** As cambist calls the one of Node. */
type Watch = (folder: string, options: { persistent: boolean }, listener: fs.WatchListener<string>) => fs.FSWatcher;

/**
 * Watches, and counts the changes that it is told of. No time goes by but what the test says, so that it waits for what
 * happens, however long that takes on a busy machine.
 */
async function startWatching(t: TestContext, files: () => readonly string[], replacement: Watch = watch) {
  let changes = 0;
  const lines: string[] = [];
  const logger = createLogger('warn', { write: (line) => void lines.push(line) });
  const happened = new EventEmitter();
  // Nothing else keeps the process alive while a watcher of no process does its work.
  const keepAlive = startInterval(() => undefined, 50);
  t.after(() => endInterval(keepAlive));
  t.mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const events = replaceWatch(t, replacement, () => happened.emit('event'));
  const onChange = () => {
    changes += 1;
    happened.emit('change');
  };
  const watcher = watchFiles({ files, onChange, pollMs: POLL_MS, logger });
  t.after(() => watcher.close());
  await watcher.look();

  let seen = 0;
  /** Waits until the operating system has told of something, and lets the debounce end. */
  const heard = async () => {
    while (events() === seen) await once(happened, 'event');
    seen = events();
    t.mock.timers.tick(DEBOUNCE_MS);
  };
  const polled = () => t.mock.timers.tick(POLL_MS);
  /** Waits for so many changes in all; one more that somebody has yet to look for is found, too. */
  const changed = async (count: number) => {
    while (changes < count) await once(happened, 'change');
    await watcher.look();
    seen = events();
    assert.equal(changes, count);
  };
  return { heard, polled, changed, watcher, lines };
}

/** Until the end of the test folders are watched like this. @returns how many events there were */
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
    mock.mock.restore();
    syncBuiltinESMExports();
  });
  return () => events;
}

test('a file that is written, or renamed over as editors do, is heard once', async (t) => {
  const folder = await makeFolder(t);
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

test('the swap of a ConfigMap is heard once', async (t) => {
  const folder = await makeFolder(t);
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

test('what leaves the content as it is, or is about another file, is not told', async (t) => {
  const folder = await makeFolder(t);
  const file = join(folder, 'c.yaml');
  await writeFile(file, 'one');
  const { heard, changed } = await startWatching(t, () => [file]);
  await writeFile(file, 'one');
  await utimes(file, new Date(), new Date());
  await writeFile(join(folder, 'other'), 'x');
  await heard();
  await changed(0);
});

test('a file that goes and comes back is heard, and a folder that does', async (t) => {
  const folder = join(await makeFolder(t), 'inner');
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

test('polling alone is enough, and follows a link to a file elsewhere', async (t) => {
  const folder = await makeFolder(t);
  await mkdir(join(folder, 'elsewhere'));
  await mkdir(join(folder, 'here'));
  await writeFile(join(folder, 'elsewhere', 'c.yaml'), 'one');
  await symlink(join(folder, 'elsewhere', 'c.yaml'), join(folder, 'here', 'c.yaml'));
  const { polled, changed } = await startWatching(t, () => [join(folder, 'here', 'c.yaml')]);
  await writeFile(join(folder, 'elsewhere', 'c.yaml'), 'two');
  polled();
  await changed(1);
});

test('the files may become others, which are then watched from what they hold', async (t) => {
  const folder = await makeFolder(t);
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

test('a large file is known by its size and time', async (t) => {
  const file = join(await makeFolder(t), 'large');
  const content = Buffer.alloc(8 * 1024 * 1024 + 1);
  await writeFile(file, content);
  const { heard, changed } = await startWatching(t, () => [file]);
  await writeFile(file, Buffer.concat([content, Buffer.from('x')]));
  await heard();
  await changed(1);
});

test('nothing is told after the end', async (t) => {
  const file = join(await makeFolder(t), 'c.yaml');
  await writeFile(file, 'one');
  const { polled, changed, watcher } = await startWatching(t, () => [file]);
  watcher.close();
  await writeFile(file, 'two');
  polled();
  await changed(0);
});

test('a look that fails is logged, and the next one is made', async (t) => {
  const file = join(await makeFolder(t), 'c.yaml');
  await writeFile(file, 'one');
  let fails = false;
  const files = () => {
    if (fails) throw new Error('no list');
    return [file];
  };
  const { polled, changed, lines } = await startWatching(t, files);
  fails = true;
  await changed(0);
  assert.match(lines[0] ?? '', /a look for changed files failed/);
  fails = false;
  await writeFile(file, 'two');
  polled();
  await changed(1);
});

test('where no folder can be watched, that is logged once and polling goes on', async (t) => {
  const file = join(await makeFolder(t), 'c.yaml');
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

test('a watcher that breaks is closed, and polling goes on', async (t) => {
  const file = join(await makeFolder(t), 'c.yaml');
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
