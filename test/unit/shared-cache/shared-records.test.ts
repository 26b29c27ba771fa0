import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../../harness/fake-clock.ts';
import type { MemoryStore } from '../../harness/memory-store.ts';
import { allRecords, keysWhile, NEW_KEY, OLD_KEY, startAlone, startReplica } from './replica.ts';

test('keeps records until they expire, and reads all of them', async (t) => {
  const clock = createFakeClock();
  const { server, ...one } = await startAlone(t, { clock });
  for (let i = 0; i < 1100; i += 1) {
    assert.equal(await one.records.keep(String(i), i, clock.wallMs() + 10_000 + i), 'kept');
  }
  const other = await startReplica(t, server, { clock });
  const list = await allRecords(other.records);
  assert.deepEqual(
    [...(list?.payloads ?? [])].sort((a, b) => Number(a) - Number(b)),
    Array.from({ length: 1100 }, (_, i) => i),
  );
  assert.deepEqual([list?.unreadable, list?.isFull], [0, false]);
  clock.advance(10_500);
  assert.equal((await allRecords(other.records))?.payloads.length, 599);
  assert.equal(await one.records.keep('over', 'over', clock.wallMs()), 'kept');
});

test('misses no record while others expire between two pages', async (t) => {
  const clock = createFakeClock();
  const { records } = await startAlone(t, { clock });
  for (let i = 0; i < 300; i += 1) await records.keep(`short ${i}`, 'short', clock.wallMs() + 1000);
  for (let i = 0; i < 600; i += 1) await records.keep(`long ${i}`, 'long', clock.wallMs() + 60_000 + i);
  const reading = allRecords(records);
  // The first page is read by now, and the second one is not.
  await new Promise(setImmediate);
  clock.advance(2000);
  await records.keep('another', 'long', clock.wallMs() + 1_000);
  const list = await reading;
  assert.ok((list?.payloads.filter((payload) => payload === 'long').length ?? 0) >= 600);
});

test('replaces a record of the same id, unless the earlier one expires later', async (t) => {
  const clock = createFakeClock();
  const { records } = await startAlone(t, { clock });
  const at = clock.wallMs();
  await records.keep('id', 'first', at + 10_000);
  await records.keep('id', 'second', at + 20_000);
  await records.keep('id', 'late', at + 15_000);
  assert.deepEqual((await allRecords(records))?.payloads, ['second']);
});

test('replaces a record that does not open, whatever its expiry', async (t) => {
  const clock = createFakeClock();
  const { server, records } = await startAlone(t, { clock });
  const at = clock.wallMs();
  await records.keep('id', 'first', at + 10_000);
  alter(server, () => 'altered');
  assert.equal(await records.keep('id', 'second', at + 15_000), 'kept');
  assert.deepEqual((await allRecords(records))?.payloads, ['second']);
  // The expiry at the server is not authenticated. The one in the record is.
  alter(server, (value) => value);
  await records.keep('id', 'third', at + 20_000);
  assert.deepEqual((await allRecords(records))?.payloads, ['third']);
});

test('keeps a later record that another replica kept while this one replaced an altered one', async (t) => {
  const clock = createFakeClock();
  const at = clock.wallMs();
  const { server, ...other } = await startAlone(t, { clock });
  await other.records.keep('id', 'first', at + 10_000);
  alter(server, () => 'altered');
  let runs = 0;
  const connect: typeof server.connect = async (...args) => {
    const connection = await server.connect(...args);
    return {
      ...connection,
      async run(...parts) {
        runs += 1;
        if (runs === 2) await other.records.keep('id', 'later', at + 20_000);
        return connection.run(...parts);
      },
    };
  };
  const { records } = await startReplica(t, { ...server, connect }, { clock });
  assert.equal(await records.keep('id', 'earlier', at + 15_000), 'kept');
  assert.deepEqual([runs, (await allRecords(other.records))?.payloads], [2, ['later']]);
});

/** Alters all records, so that they never expire at the server. */
function alter(server: MemoryStore, change: (value: string) => string): void {
  for (const [name, set] of server.sets) {
    const kept = server.records.get(`${name}:values`);
    for (const id of [...set.keys()]) {
      set.set(id, Number.MAX_SAFE_INTEGER);
      kept?.set(id, change(kept.get(id) ?? ''));
    }
  }
}

test('opens records of an older key, and none of another', async (t) => {
  const { server, ...before } = await startAlone(t, { keys: [OLD_KEY] });
  await before.records.keep('id', 'kept', Date.now() + 60_000);
  const during = await startReplica(t, server, { keys: [NEW_KEY, OLD_KEY] });
  await during.records.keep('other', 'also kept', Date.now() + 30_000);
  const opened: unknown[] = [];
  await during.records.readAll((page) => void opened.push(...page));
  assert.deepEqual(opened, [
    { payload: 'kept', isCurrent: false },
    { payload: 'also kept', isCurrent: true },
  ]);
  const after = await startReplica(t, server, { keys: [NEW_KEY] });
  const { payloads, unreadable } = (await allRecords(after.records)) ?? {};
  assert.deepEqual([payloads, unreadable], [['also kept'], 1]);
  assert.equal(after.counted('recall', 'invalid'), 1);
});

test('knows whether the server has lost its data', async (t) => {
  const clock = createFakeClock();
  const { records } = await startAlone(t, { clock });
  assert.equal((await allRecords(records))?.isMarked, false);
  await records.keep('seed', 'a record of this name is another one', clock.wallMs() + 60_000);
  assert.equal((await allRecords(records))?.isMarked, false);
  await records.mark(clock.wallMs() + 60_000);
  const list = await allRecords(records);
  assert.deepEqual([list?.isMarked, list?.payloads.length], [true, 1]);
  clock.advance(60_001);
  assert.equal((await allRecords(records))?.isMarked, false);
});

test('tells that records cannot be kept or read', async (t) => {
  const { server, records } = await startAlone(t);
  assert.equal(await records.keep('id', 'x'.repeat(20_000), Date.now() + 1000), 'failed');
  server.fault = new Error('closed');
  assert.equal(await records.keep('id', {}, Date.now() + 1000), 'failed');
  assert.equal(await allRecords(records), undefined);
});

test('neither keeps nor reads records while the key is unavailable', async (t) => {
  let isAvailable = true;
  const { records, counted } = await startAlone(t, { readKeys: keysWhile(() => isAvailable) });
  isAvailable = false;
  assert.equal(await records.keep('id', {}, Date.now() + 60_000), 'failed');
  assert.equal(await allRecords(records), undefined);
  assert.deepEqual([counted('record', 'error'), counted('recall', 'error')], [1, 1]);
});

test('lets requests go on while it opens the records of a page', async (t) => {
  const { records } = await startAlone(t);
  const ids = Array.from({ length: 120 }, (_, i) => `id ${i}`);
  await Promise.all(ids.map((id) => records.keep(id, id, Date.now() + 60_000)));
  const [sizes, turns]: [number[], number[]] = [[], []];
  let turn = 0;
  const next = (): void => {
    turn += 1;
    if (sizes.length < 3) setImmediate(next);
  };
  setImmediate(next);
  await records.readAll((page) => {
    sizes.push(page.length);
    turns.push(turn);
  });
  assert.deepEqual(sizes, [50, 50, 20]);
  assert.equal(new Set(turns).size, 3);
});

test('rejects with the error of the reader of a page', async (t) => {
  const { records } = await startAlone(t);
  await records.keep('one', 1, Date.now() + 60_000);
  const reading = records.readAll(() => {
    throw new Error('unexpected');
  });
  await assert.rejects(reading, /unexpected/);
});
