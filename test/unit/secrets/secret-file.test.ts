import assert from 'node:assert/strict';
import { statSync, writeFileSync } from 'node:fs';
import { link, mkdir, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { platform } from 'node:process';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { systemClock } from '../../../src/clock/clock.ts';
import { Secret } from '../../../src/secrets/secret.ts';
import { createSecretFileReader, type ReadSecretFile } from '../../../src/secrets/secret-file.ts';
import { openWithin, readStart } from '../../../src/secrets/within.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

const LONG_AGO = new Date('2026-01-01');
/** More than one tick of the file system's clock. */
const TICK_MS = 30;

/** Reads a file at each use. */
const withoutWaiting = () => {
  let useMs = 0;
  return createSecretFileReader({
    wallMs: () => Date.now() + 60_000,
    monotonicMs: () => {
      useMs += 1000;
      return useMs;
    },
  });
};

/** Mounts a Secret as the kubelet does: `value` links through `..data` to a folder that is replaced as a whole. */
async function mountSecret(t: TestContext, content: string): Promise<{ folder: string; file: string }> {
  const folder = temporaryFolder(t);
  await publish(folder, 1, content);
  await symlink(join('..data', 'value'), join(folder, 'value'));
  return { folder, file: join(folder, 'value') };
}

async function publish(folder: string, version: number, content: string): Promise<void> {
  await mkdir(join(folder, `..${version}`));
  await writeOld(join(folder, `..${version}`, 'value'), content);
  await symlink(`..${version}`, join(folder, '..data_tmp'));
  await rename(join(folder, '..data_tmp'), join(folder, '..data'));
}

async function writeOld(file: string, content: string): Promise<void> {
  await writeFile(file, content);
  await utimes(file, LONG_AGO, LONG_AGO);
}

/** The content, or the problem of the file. */
async function contentOf(read: ReadSecretFile, file: string): Promise<string> {
  try {
    return (await read(file)).reveal();
  } catch (error) {
    return (error as Error).message;
  }
}

test('returns the same secret while the content is unchanged', async (t) => {
  const { file, folder } = await mountSecret(t, 'one');
  const read = withoutWaiting();
  const first = await read(file);
  assert.equal(await read(file), first);
  await publish(folder, 2, 'one');
  assert.equal(await read(file), first);
});

/** Changes of a file whose content `one` is remembered, and the new content. */
const changes: [what: string, change: (file: string, folder: string) => Promise<void>, holds: string][] = [
  ['is overwritten with as many bytes', (file) => writeFile(file, 'two'), 'two'],
  ['is overwritten with more bytes', (file) => writeFile(file, 'three\n'), 'three'],
  ['is emptied', (file) => writeFile(file, ''), ''],
  [
    'grows beyond the limit',
    (file) => writeFile(file, 'x'.repeat(256 * 1024 + 1)),
    'is larger than 262144 bytes: check that it is the right file',
  ],
  [
    'is swapped as by Kubernetes, with as many bytes and the same time',
    (_, folder) => publish(folder, 2, 'two'),
    'two',
  ],
  [
    'is replaced by one of the same size and time',
    async (file) => {
      await writeOld(`${file}-new`, 'two');
      await rename(`${file}-new`, file);
    },
    'two',
  ],
  [
    'is overwritten and gets its old time back',
    async (file) => {
      await delay(TICK_MS);
      await writeOld(file, 'two');
    },
    'two',
  ],
  [
    'is replaced by a folder',
    async (file) => {
      await rm(file);
      await mkdir(file);
    },
    'is a folder, a device or a pipe: set the path of a file',
  ],
];
for (const [what, change, holds] of changes) {
  test(`notices at the next use that a file ${what}`, { skip: platform === 'win32' }, async (t) => {
    const { file, folder } = await mountSecret(t, 'one');
    const read = withoutWaiting();
    assert.equal(await read(file), await read(file));
    await change(file, folder);
    assert.equal(await contentOf(read, file), holds);
    assert.equal(await contentOf(read, file), holds);
  });
}

test('fails for a deleted file, and reads it when it is back', async (t) => {
  const { file, folder } = await mountSecret(t, 'one');
  const read = withoutWaiting();
  assert.equal(await read(file), await read(file));
  await rename(join(folder, '..data'), join(folder, '..gone'));
  await assert.rejects(async () => read(file), { code: 'ENOENT' });
  await rename(join(folder, '..gone'), join(folder, '..data'));
  assert.equal(await contentOf(read, file), 'one');
});

test('reads a file again that has just changed', async (t) => {
  const { file } = await mountSecret(t, 'one');
  const changedAtMs = statSync(file).ctimeMs;
  for (const [ageMs, isRemembered] of [
    [-1000, false],
    [0, false],
    [2900, false],
    [3100, true],
  ] as const) {
    const read = createSecretFileReader({ ...systemClock, wallMs: () => changedAtMs + ageMs });
    await read(file);
    assert.equal(read(file) instanceof Secret, isRemembered, `${ageMs} ms after`);
  }
});

test('reads a file at most ten times a second, unless it must', async (t) => {
  const { file } = await mountSecret(t, 'one');
  let nowMs = 0;
  const read = createSecretFileReader({ wallMs: () => Date.now() + 60_000, monotonicMs: () => nowMs });
  assert.equal(await contentOf(read, file), 'one');
  await writeFile(file, 'two');
  nowMs = 99;
  assert.ok(read(file) instanceof Secret, 'no read, and so no promise');
  assert.equal(await contentOf(read, file), 'one');
  assert.equal((await read(file, true)).reveal(), 'two');
  await writeFile(file, 'three');
  nowMs = 199;
  assert.equal(await contentOf(read, file), 'three');
});

test('notices two changes within one tick of the clock', async (t) => {
  const { file } = await mountSecret(t, 'begin');
  const read = createSecretFileReader();
  for (let i = 0; i < 200; i += 1) {
    writeFileSync(file, `${i} one`);
    assert.equal(await contentOf(read, file), `${i} one`);
    writeFileSync(file, `${i} two`);
    assert.equal(await contentOf(read, file), `${i} two`);
  }
});

test('shares one read among the calls in one turn of the event loop, after the last of them', async (t) => {
  const { file } = await mountSecret(t, 'one');
  const read = createSecretFileReader();
  const early = read(file);
  writeFileSync(file, 'two');
  const late = read(file);
  assert.equal(await early, await late);
  assert.equal((await late).reveal(), 'two');
});

test('waits for a read in progress if it is recent enough, unless it must read', async (t) => {
  const { file } = await mountSecret(t, 'one');
  let reads = 0;
  const wallMs = () => {
    reads += 1;
    return Date.now() + 60_000;
  };
  const read = createSecretFileReader({ wallMs, monotonicMs: () => 0 });
  const early = read(file);
  await nextTurn();
  const late = read(file);
  assert.equal(await early, await late);
  assert.equal(reads, 1);
  const first = read(file, true);
  await nextTurn();
  assert.equal(await first, await read(file, true));
  assert.equal(reads, 3);
});

test('returns no content from a read that started before the call', async (t) => {
  const { file } = await mountSecret(t, 'begin');
  for (const read of [createSecretFileReader(), withoutWaiting()]) {
    for (let i = 0; i < 50; i += 1) {
      const early = read(file);
      await nextTurn();
      writeFileSync(file, `${i}`.repeat(i + 1));
      assert.equal(await contentOf(read, file), `${i}`.repeat(i + 1));
      await early;
    }
  }
});

test('keeps two files apart', async (t) => {
  const one = await mountSecret(t, 'one');
  const two = await mountSecret(t, 'two');
  const read = withoutWaiting();
  const values = [one, two, one, two].map(({ file }) => contentOf(read, file));
  assert.deepEqual(await Promise.all(values), ['one', 'two', 'one', 'two']);
});

/** A folder, and another one that no link may lead to. */
async function start(t: TestContext) {
  const base = temporaryFolder(t);
  const [own, foreign] = [join(base, 'own'), join(base, 'foreign')];
  await mkdir(join(own, 'folder'), { recursive: true });
  await mkdir(foreign);
  await writeFile(join(own, 'folder', 'key'), 'own');
  await writeFile(join(foreign, 'key'), 'foreign');
  return { own, foreign };
}

async function readWithin(file: string, folder: string): Promise<string> {
  const handle = await openWithin(file, [folder]);
  try {
    return (await readStart(handle, 100)).toString();
  } finally {
    await handle.close();
  }
}

/** Exchanges a folder by a link and back, as fast as it can. */
const SWAP = `
const { renameSync } = require('node:fs');
const { workerData: own } = require('node:worker_threads');
for (;;) for (const [from, to] of [['folder', 'kept'], ['link', 'folder'], ['folder', 'link'], ['kept', 'folder']]) {
  renameSync(own + '/' + from, own + '/' + to);
}`;

test('never reads a file of another folder, however fast links change', async (t) => {
  const { own } = await start(t);
  await symlink('../foreign', join(own, 'link'));
  const swapping = new Worker(SWAP, { eval: true, workerData: own });
  const found = new Map<string, number>();
  const enough = (what: string) => (found.get(what) ?? 0) > 300;
  while (!enough('own') || !enough('refused')) {
    const read = await readWithin(join(own, 'folder', 'key'), own).catch((error: Error) =>
      /leads out/.test(error.message) ? 'refused' : 'missing',
    );
    found.set(read, (found.get(read) ?? 0) + 1);
  }
  await swapping.terminate();
  assert.equal(found.get('foreign'), undefined, JSON.stringify([...found]));
});

test('refuses a hard link to a file, wherever that is', async (t) => {
  const { own, foreign } = await start(t);
  await rm(join(own, 'folder', 'key'));
  await link(join(foreign, 'key'), join(own, 'folder', 'key'));
  await assert.rejects(readWithin(join(own, 'folder', 'key'), own), /has several hard links/);
  const secret = async () => createSecretFileReader()(join(own, 'folder', 'key'), true, [own]);
  await assert.rejects(secret, /has several hard links/);
});
