import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from '../../../src/observability/logger.ts';
import { createReconciler } from '../../../src/signals/reconciler.ts';
import { eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore, spoil } from '../../harness/memory-store.ts';
import { NEW_KEY, OLD_KEY, startReplica } from '../shared-cache/replica.ts';
import { failsWith } from '../tokens/sample.ts';
import { ISSUER, numberKept, ready, start, startPair, startReady, tokenOf } from './joined-replica.ts';

test('a revocation takes effect at running replicas, and at those that start later', async (t) => {
  const { server, one, other } = await startPair(t);
  const { messages } = await startReplica(t, server);
  let published = 0;
  messages.on('revoked', () => {
    published += 1;
  });
  await one.revoke('alice');
  assert.deepEqual([one.knows('alice'), other.knows('alice'), other.knows('bob')], [true, true, false]);
  assert.deepEqual(one.link.status(), { unshared: 0, in_sync: true, full: false });
  const later = await startReady(t, server);
  assert.ok(later.knows('alice'));
  assert.ok(other.lines.some((line) => line === 'revocations of another replica took effect: 1'));
  // It has nothing new to publish.
  assert.equal(published, 1);
});

test('writes a revocation before it publishes it, so that a replica that starts meanwhile cannot miss it', async (t) => {
  const { server, one, other } = await startPair(t);
  let writtenBefore = 0;
  other.messages.on('revoked', () => {
    writtenBefore = numberKept(server);
  });
  await one.revoke('alice');
  assert.equal(writtenBefore, 1);
});

test('a revocation waits while the store is away, says so, and is shared when it is back', async (t) => {
  const { server, one, other } = await startPair(t);
  server.fault = new Error('closed');
  server.drop(new Error('closed'));
  await one.revoke('alice', 'bob');
  assert.deepEqual(one.link.status(), { unshared: 2, in_sync: false, full: false });
  assert.deepEqual([one.metric('cambist_revocations_unshared'), one.metric('cambist_revocations_in_sync')], ['2', '0']);
  assert.equal(other.knows('alice'), false);
  server.fault = undefined;
  await eventually('it is shared', () => other.knows('alice') && other.knows('bob'));
  await eventually('nothing waits', () => one.link.status().unshared === 0);
  await eventually('both are in sync', () => one.link.status().in_sync && other.link.status().in_sync);
  assert.equal(one.lines.filter((line) => line.startsWith('a revocation was not written')).length, 1);
  assert.equal(one.lines.filter((line) => line.startsWith('the revocations that waited were')).length, 1);
});

for (const isLost of [true, false]) {
  test(`a store that ${isLost ? 'comes back empty' : 'has lost one record'} gets all revocations again`, async (t) => {
    const server = createMemoryStore();
    const one = await startReady(t, server);
    await one.revoke('alice', 'bob', 'carol');
    spoil(server, (index) => isLost || index === 1, undefined);
    server.drop(new Error('closed'));
    await eventually('they are written again', () => numberKept(server) === 3);
    await eventually('it is in sync', () => one.link.status().in_sync);
    const later = await startReady(t, server);
    assert.ok(['alice', 'bob', 'carol'].every(later.knows));
  });
}

test('a replica learns after a reconnection what it missed, and running ones learn what the store has lost', async (t) => {
  const { server, one, other } = await startPair(t);
  server.withholds = true;
  await one.revoke('alice');
  server.withholds = false;
  assert.equal(other.knows('alice'), false);
  spoil(server, () => true, undefined);
  server.drop(new Error('closed'));
  await eventually('the other one knows', () => other.knows('alice'));
});

test('a record that was altered is written again', async (t) => {
  const server = createMemoryStore();
  const one = await startReady(t, server);
  await one.revoke('alice');
  const [set] = [...server.sets.values()];
  const [kept] = [...server.records.values()];
  for (const id of [...(kept?.keys() ?? [])]) {
    kept?.set(id, 'altered');
    set?.set(id, Number.MAX_SAFE_INTEGER);
  }
  server.drop(new Error('closed'));
  await eventually('it is repaired', () => ![...(kept?.values() ?? [])].includes('altered'));
  const later = await startReady(t, server);
  assert.ok(later.knows('alice'));
  assert.ok(one.lines.some((line) => line.startsWith('2 records of revocations do not open')));
});

test('revocations outlast the rotation of the key', async (t) => {
  const server = createMemoryStore();
  const before = await startReady(t, server, {}, { keys: [OLD_KEY] });
  await before.revoke('alice');
  const during = await start(t, server, {}, { keys: [NEW_KEY, OLD_KEY] });
  await eventually('it has read and written', () => during.link.status().in_sync);
  const after = await startReady(t, server, {}, { keys: [NEW_KEY] });
  assert.ok(after.knows('alice'));
});

test('a replica that cannot read the stored revocations at the start is not ready, and refuses every token', async (t) => {
  const server = createMemoryStore();
  const one = await startReady(t, server);
  await one.revoke('alice');
  server.fault = new Error('closed');
  const later = await start(t, server);
  await assert.rejects(later.link.prepare(), failsWith('ERR_REVOCATIONS_UNKNOWN', /cache\.shared/));
  assert.throws(() => later.revocations.check(tokenOf('bob')), failsWith('ERR_REVOCATIONS_UNKNOWN'));
  assert.equal(later.link.status().in_sync, false);
  server.fault = undefined;
  await eventually('it has read', () => later.link.isComplete);
  await later.link.prepare();
  later.revocations.check(tokenOf('bob'));
  assert.throws(() => later.revocations.check(tokenOf('alice')), failsWith('ERR_SUBJECT_TOKEN_INVALID'));
});

test('a replica that cannot read them later goes on with what it knows, and says so', async (t) => {
  const server = createMemoryStore();
  const { records } = await startReplica(t, server);
  let isReadable = true;
  const one = await startReady(t, server, {
    readAll: async (onPage) => (isReadable ? records.readAll(onPage) : undefined),
  });
  await one.revoke('alice');
  await eventually('it is in sync', () => one.link.status().in_sync);
  isReadable = false;
  server.drop(new Error('closed'));
  await eventually('it says so', () => one.metric('cambist_revocations_in_sync') === '0');
  one.revocations.check(tokenOf('bob'));
  assert.ok(one.knows('alice'));
  await one.link.prepare();
  isReadable = true;
  await eventually('it is in sync again', () => one.link.status().in_sync);
});

test('a replica that finds no mark waits for the running ones, and reads again', async (t) => {
  const server = createMemoryStore();
  const one = await startReady(t, server);
  await one.revoke('alice');
  spoil(server, () => true, undefined);
  const later = await start(t, server, {}, { waitMs: 600 });
  await assert.rejects(later.link.prepare(), failsWith('ERR_REVOCATIONS_UNKNOWN', /running replicas may still write/));
  server.drop(new Error('closed'));
  await ready(later);
  assert.ok(later.knows('alice'));
});

test('marks a store as complete only once everything is written, so that no replica waits from then on', async (t) => {
  const server = createMemoryStore();
  let isRefused = true;
  const { records } = await startReplica(t, server);
  const one = await start(t, server, { keep: async (...args) => (isRefused ? 'failed' : records.keep(...args)) });
  one.revoke('alice');
  await ready(one);
  assert.equal((await records.readAll(() => {}))?.isMarked, false);
  isRefused = false;
  await eventually('it is marked', async () => (await records.readAll(() => {}))?.isMarked === true);
  const later = await startReady(t, server, {}, { waitMs: 3_600_000 });
  assert.ok(later.knows('alice'));
});

test('a replica that starts or reconnects while the store is full refuses older tokens', async (t) => {
  const server = createMemoryStore();
  const { records } = await startReplica(t, server);
  await records.mark(Date.now() + 3_600_000);
  let isFull = false;
  const one = await startReady(t, server, {
    async readAll(onPage) {
      const summary = await records.readAll(onPage);
      return summary && { ...summary, isFull };
    },
  });
  assert.equal(one.knows('anybody'), false);
  isFull = true;
  server.drop(new Error('closed'));
  await eventually('it is full', () => one.link.status().full);
  assert.ok(one.knows('anybody'));
  assert.ok(one.lines.some((line) => line.startsWith('the shared cache is full of revocations')));
});

test('running replicas publish a revocation that the store has no room for', async (t) => {
  const server = createMemoryStore();
  const [one, other] = [await start(t, server, { keep: async () => 'full' }), await start(t, server)];
  await Promise.all([one, other].map(ready));
  await one.revoke('alice');
  assert.deepEqual(one.link.status(), { unshared: 0, in_sync: true, full: true });
  assert.deepEqual([other.knows('alice'), other.knows('anybody')], [true, false]);
});

test('a replica publishes many revocations in messages that fit', async (t) => {
  const { server, one, other } = await startPair(t);
  await one.revoke(...Array.from({ length: 200 }, (_, i) => `user-${i}`));
  assert.equal(other.revocations.size, 200);
  assert.equal(numberKept(server), 200);
  const sent = server.messages.filter(({ channel }) => channel.endsWith(':messages'));
  assert.ok(sent.length >= 4 && sent.length <= 10, String(sent.length));
});

test('an unexpected error in the stored revocations is logged, and they are read again', async (t) => {
  const server = createMemoryStore();
  let attempts = 0;
  const one = await start(t, server, {
    readAll: async () => {
      attempts += 1;
      if (attempts === 1) throw new Error('unexpected');
      return { unreadable: 0, isFull: false, isMarked: true };
    },
  });
  await ready(one);
  assert.equal(one.lines.filter((line) => line.startsWith('unexpected error; reading')).length, 1);
});

test('a malformed message or record of a replica changes nothing', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server), start(t, server)]);
  await ready(other);
  const key = 'k'.repeat(43);
  const parts = [[key], [key, 1, 1], [key, ISSUER, 'now'], ['short', ISSUER, 1], [key, 'x'.repeat(3000), 1]];
  const malformed = [null, 1, 'text', [], ...parts];
  await one.messages.publish('revoked', malformed);
  await one.messages.publish('revoked', { length: 1 });
  await one.messages.publish('revoked', null);
  for (const [index, value] of malformed.entries()) await one.records.keep(String(index), value, Date.now() + 60_000);
  const later = await startReady(t, server);
  assert.deepEqual([other.revocations.size, later.revocations.size], [0, 0]);
});

for (const [readingMs, pauseMs] of [
  [10, 60_000],
  [1200, 60_000],
  [2000, 100_000],
] as const) {
  test(`reads again ${pauseMs} ms after a reading of ${readingMs} ms, and not after it is closed`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const clock = createFakeClock();
    let readings = 0;
    const reconciler = createReconciler({
      records: {
        async readAll() {
          readings += 1;
          clock.advance(readingMs);
          return { unreadable: 0, isFull: false, isMarked: true };
        },
        mark: async () => 'kept',
      },
      known: () => ({ restore: () => 0, list: () => [] }),
      publisher: { publish: () => {}, allShared: async () => {} },
      clock,
      logger: createLogger('info', { write: () => {} }),
      rememberMs: 3_600_000,
      issuers: () => [ISSUER],
      random: () => 0.5,
      waitMs: 0,
      onRead: () => {},
    });
    await reconciler.refresh();
    t.mock.timers.tick(pauseMs - 1);
    assert.equal(readings, 1);
    t.mock.timers.tick(1);
    assert.equal(readings, 2);
    await reconciler.refresh();
    reconciler.close();
    t.mock.timers.tick(10 * pauseMs);
    assert.equal(readings, 2);
  });
}
