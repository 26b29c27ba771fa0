import assert from 'node:assert/strict';
import { link, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { createSecretFileReader } from '../../../src/secrets/secret-file.ts';
import { openWithin, readStart } from '../../../src/secrets/within.ts';
import { temporaryFolder } from '../../harness/lifetime.ts';

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
