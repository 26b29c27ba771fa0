import assert from 'node:assert/strict';
import fs from 'node:fs';
import promises, { mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createLogger } from '../../../src/observability/logger.ts';
import { watchFiles } from '../../../src/secrets/watch.ts';
import { eventually } from '../../harness/eventually.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { folderOf } from '../tokens/sample.ts';

/**
 * Starts a watcher that looks only when it is asked to, and counts its changes. Contents of one size that a test writes within one step
 * of the file system's clock look the same, so they have different sizes.
 */
function startWatching(t: TestContext, files: () => readonly string[], pollMs = 3_600_000) {
  let changes = 0;
  const reported: string[] = [];
  const lines: string[] = [];
  const logger = createLogger('warn', { write: (line) => void lines.push(line) });
  const onChange = (changed: readonly string[]): void => {
    changes += 1;
    reported.push(...changed);
  };
  const watcher = watchFiles({ files, onChange, pollMs, logger });
  t.after(() => watcher.close());
  // The watcher does not keep the process alive.
  const keepAlive = setInterval(() => undefined, 50);
  t.after(() => clearInterval(keepAlive));
  /** Checks, and compares the total of changes. */
  const changed = async (count: number) => {
    await watcher.check();
    assert.equal(changes, count);
  };
  return { changed, watcher, lines, reported, changes: () => changes };
}

test('notices a change that follows the first read at once', async (t) => {
  const file = folderOf(t).write('config', 'one');
  const { changed } = startWatching(t, () => [file]);
  fs.writeFileSync(file, 'three');
  await changed(1);
});

test('looks at one file after the other, so that a file system that hangs occupies one thread', async (t) => {
  const { stat } = promises;
  let looking = 0;
  const atOnce: number[] = [];
  const count = async (...args: Parameters<typeof stat>) => {
    looking += 1;
    atOnce.push(looking);
    return stat(...args).finally(() => {
      looking -= 1;
    });
  };
  t.after(syncBuiltinESMExports);
  t.mock.method(promises, 'stat', count as typeof stat);
  syncBuiltinESMExports();
  const folder = temporaryFolder(t);
  const { changed } = startWatching(t, () => ['a', 'b', 'c'].map((name) => join(folder, name)));
  await changed(0);
  assert.deepEqual(atOnce, [1, 1, 1]);
});

test('looks by itself, and reports a file once that is written, or replaced as by editors', async (t) => {
  const { path: folder, write } = folderOf(t);
  const file = write('c.yaml', 'one');
  const { changes, changed } = startWatching(t, () => [file, file], 50);
  await writeFile(file, 'second');
  await eventually('the first change', () => changes() === 1);
  await writeFile(join(folder, '.c.yaml.swp'), 'three');
  await rename(join(folder, '.c.yaml.swp'), file);
  await eventually('the second change', () => changes() === 2);
  await changed(2);
});

test('reports a file that grows only when it is complete', async (t) => {
  const file = folderOf(t).write('c.yaml', '');
  const { changed, changes, watcher } = startWatching(t, () => [file]);
  const growing = setInterval(() => fs.appendFileSync(file, 'x'), 5);
  t.after(() => clearInterval(growing));
  await eventually('the file grows', async () => (await readFile(file)).length > 0);
  await changed(0);
  clearInterval(growing);
  await watcher.check();
  assert.equal(changes(), 1);
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
  const { changed } = startWatching(t, () => [file]);
  await version('..2026_2', 'second');
  await rm(join(folder, '..2026_1'), { recursive: true });
  await changed(1);
  assert.equal(await readFile(file, 'utf8'), 'second');
});

test('reports that a file or folder disappears and returns', async (t) => {
  const folder = join(temporaryFolder(t), 'inner');
  const file = join(folder, 'c.yaml');
  await mkdir(folder);
  await writeFile(file, 'one');
  const { changed } = startWatching(t, () => [file]);
  await rm(file);
  await changed(1);
  await writeFile(file, 'one');
  await changed(2);
  await rm(folder, { recursive: true });
  await changed(3);
  await mkdir(folder);
  await writeFile(file, 'second');
  await changed(4);
});

test('watches other files after the list changes', async (t) => {
  const { write } = folderOf(t);
  const [first, second] = [write('first', 'one'), write('second', 'one')];
  let files = [first];
  const { changed } = startWatching(t, () => files);
  files = [second];
  await changed(0);
  await writeFile(first, 'second');
  await changed(0);
  await writeFile(second, 'second');
  await changed(1);
});

test('watches a file from its first look, while another file never settles', async (t) => {
  const { write } = folderOf(t);
  const [growing, added] = [write('growing', 'one'), write('added', 'one')];
  const files = [growing];
  const { changed, watcher, reported } = startWatching(t, () => files);
  const burst = setInterval(() => fs.appendFileSync(growing, 'x'), 5);
  t.after(() => clearInterval(burst));
  await eventually('the file grows', async () => (await readFile(growing)).length > 3);
  files.push(added);
  await changed(0);
  clearInterval(burst);
  await writeFile(added, 'second');
  await watcher.check();
  assert.deepEqual(reported, [growing, added]);
});

test('reports nothing after close', async (t) => {
  const file = folderOf(t).write('c.yaml', 'one');
  const { changed, watcher } = startWatching(t, () => [file]);
  watcher.close();
  await writeFile(file, 'second');
  await changed(0);
});

test('logs once that checks fail, and checks again', async (t) => {
  const file = folderOf(t).write('c.yaml', 'one');
  let fails = false;
  const files = () => {
    if (fails) throw new Error('no list');
    return [file];
  };
  const { changed, lines } = startWatching(t, files);
  fails = true;
  await changed(0);
  await changed(0);
  assert.match(lines.join(''), /^[^\n]*checking for changed files failed[^\n]*\n$/);
  fails = false;
  await writeFile(file, 'second');
  await changed(1);
});
