import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import { mkdir, mkdtemp, readFile, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { watchFiles } from '../../../src/config/watch.ts';
import { createLogger } from '../../../src/logger.ts';

const SETTLED_MS = 250;
const DEADLINE_MS = 5000;

async function makeFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'watch-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** Watches, and counts what it hears. */
async function startWatching(t: TestContext, files: () => readonly string[], pollMs = 60_000) {
  let changes = 0;
  const lines: string[] = [];
  const logger = createLogger('warn', { write: (line) => void lines.push(line) });
  const onChange = () => {
    changes += 1;
  };
  const watcher = watchFiles({ files, onChange, pollMs, logger });
  t.after(() => watcher.close());
  // Nothing else keeps the process alive while a watcher of no process does its work.
  const keepAlive = setInterval(() => undefined, 50);
  t.after(() => clearInterval(keepAlive));
  await sleep(SETTLED_MS);
  const changed = async (count: number) => {
    const deadline = Date.now() + DEADLINE_MS;
    while (changes < count && Date.now() < deadline) await sleep(10);
    await sleep(SETTLED_MS);
    assert.equal(changes, count);
  };
  return { changed, watcher, lines };
}

test('a file that is written, or renamed over as editors do, is heard once', async (t) => {
  const folder = await makeFolder(t);
  const file = join(folder, 'c.yaml');
  await writeFile(file, 'one');
  const { changed } = await startWatching(t, () => [file, file]);
  await writeFile(file, 'two');
  await changed(1);
  await writeFile(join(folder, '.c.yaml.swp'), 'three');
  await rename(join(folder, '.c.yaml.swp'), file);
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
  const { changed } = await startWatching(t, () => [file]);

  await version('..2026_2', 'two');
  await rm(join(folder, '..2026_1'), { recursive: true });
  await changed(1);
  assert.equal(await readFile(file, 'utf8'), 'two');
  await version('..2026_3', 'two');
  await changed(1);
  await version('..2026_4', 'three');
  await changed(2);
});

test('what leaves the content as it is, or is about another file, is not heard', async (t) => {
  const folder = await makeFolder(t);
  const file = join(folder, 'c.yaml');
  await writeFile(file, 'one');
  const { changed } = await startWatching(t, () => [file]);
  await writeFile(file, 'one');
  await utimes(file, new Date(), new Date());
  await writeFile(join(folder, 'other'), 'x');
  await changed(0);
});

test('a file that goes and comes back is heard, and a folder that does', async (t) => {
  const folder = join(await makeFolder(t), 'inner');
  const file = join(folder, 'c.yaml');
  await mkdir(folder);
  await writeFile(file, 'one');
  const { changed } = await startWatching(t, () => [file], 300);
  await rm(file);
  await changed(1);
  await writeFile(file, 'one');
  await changed(2);
  await rm(folder, { recursive: true });
  await changed(3);
  await mkdir(folder);
  await writeFile(file, 'two');
  await changed(4);
  await writeFile(file, 'three');
  await changed(5);
});

test('polling alone is enough, and follows a link to a file elsewhere', async (t) => {
  const folder = await makeFolder(t);
  await mkdir(join(folder, 'elsewhere'));
  await mkdir(join(folder, 'here'));
  await writeFile(join(folder, 'elsewhere', 'c.yaml'), 'one');
  await symlink(join(folder, 'elsewhere', 'c.yaml'), join(folder, 'here', 'c.yaml'));
  const { changed } = await startWatching(t, () => [join(folder, 'here', 'c.yaml')], 100);
  await writeFile(join(folder, 'elsewhere', 'c.yaml'), 'two');
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
  const { changed } = await startWatching(t, () => files, 100);
  files = [second];
  await changed(0);
  await writeFile(first, 'two');
  await changed(0);
  await writeFile(second, 'two');
  await changed(1);
});

test('a large file is known by its size and time', async (t) => {
  const file = join(await makeFolder(t), 'large');
  const content = Buffer.alloc(8 * 1024 * 1024 + 1);
  await writeFile(file, content);
  const { changed } = await startWatching(t, () => [file]);
  await writeFile(file, Buffer.concat([content, Buffer.from('x')]));
  await changed(1);
});

test('nothing is heard after the end', async (t) => {
  const file = join(await makeFolder(t), 'c.yaml');
  await writeFile(file, 'one');
  const { changed, watcher } = await startWatching(t, () => [file], 50);
  watcher.close();
  await writeFile(file, 'two');
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
  const { changed, lines } = await startWatching(t, files, 100);
  fails = true;
  await changed(0);
  assert.match(lines[0] ?? '', /a look for changed files failed/);
  fails = false;
  await writeFile(file, 'two');
  await changed(1);
});

/** Until the end of the test folders are watched like this. */
function replaceWatch(t: TestContext, replacement: () => fs.FSWatcher) {
  const mock = t.mock.method(fs, 'watch', replacement);
  syncBuiltinESMExports();
  t.after(() => {
    mock.mock.restore();
    syncBuiltinESMExports();
  });
}

test('where no folder can be watched, that is logged once and polling goes on', async (t) => {
  const file = join(await makeFolder(t), 'c.yaml');
  await writeFile(file, 'one');
  replaceWatch(t, () => {
    throw Object.assign(new Error('no watches left'), { code: 'ENOSPC' });
  });
  const { changed, lines } = await startWatching(t, () => [file], 50);
  await writeFile(file, 'two');
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
  replaceWatch(t, () => watcher);
  const { changed, lines } = await startWatching(t, () => [file], 60_000);
  broken.emit('error', new Error('broken'));
  await changed(0);
  assert.equal(closed, 1);
  assert.match(lines[0] ?? '', /cannot be watched/);
});
