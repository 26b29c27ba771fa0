import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { NEW_KEY, OLD_KEY, startReplica } from '../shared-cache/replica.ts';
import { failsWith } from '../tokens/sample.ts';
import { ISSUER, numberKept, ready, start, startReady, tokenOf } from './joined-replica.ts';

test('a revocation takes effect at running replicas, and at those that start later', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReady(t, server), startReady(t, server)]);
  const { messages } = await startReplica(t, server);
  let told = 0;
  messages.on('revoked', () => {
    told += 1;
  });
  one.revoke('alice');
  await one.link.settled();
  assert.deepEqual([one.knows('alice'), other.knows('alice'), other.knows('bob')], [true, true, false]);
  assert.deepEqual(one.link.status(), { unshared: 0, in_sync: true, full: false });
  const later = await startReady(t, server);
  assert.ok(later.knows('alice'));
  assert.ok(other.lines.some((line) => line === 'revocations of another replica took effect: 1'));
  // It was told nothing new, so it tells nothing.
  assert.equal(told, 1);
});

test('keeps a revocation before it tells others, so that a replica that starts meanwhile cannot miss it', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReady(t, server), startReady(t, server)]);
  let keptWhenTold = 0;
  other.messages.on('revoked', () => {
    keptWhenTold = numberKept(server);
  });
  one.revoke('alice');
  await one.link.settled();
  assert.equal(keptWhenTold, 1);
});

test('a revocation waits while the store is away, says so, and is told when it is back', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReady(t, server), startReady(t, server)]);
  server.fault = new Error('closed');
  server.drop(new Error('closed'));
  one.revoke('alice');
  one.revoke('bob');
  await one.link.settled();
  assert.deepEqual(one.link.status(), { unshared: 2, in_sync: false, full: false });
  assert.deepEqual([one.metric('cambist_revocations_unshared'), one.metric('cambist_revocations_in_sync')], ['2', '0']);
  assert.equal(other.knows('alice'), false);
  server.fault = undefined;
  await eventually('it is told', () => other.knows('alice') && other.knows('bob'));
  await eventually('nothing waits', () => one.link.status().unshared === 0);
  await eventually('both are in sync', () => one.link.status().in_sync && other.link.status().in_sync);
  assert.equal(one.lines.filter((line) => line.startsWith('other replicas could not be told')).length, 1);
  assert.equal(one.lines.filter((line) => line.startsWith('other replicas were told')).length, 1);
});

test('says when nothing waits any more', async (t) => {
  const server = createMemoryStore();
  const one = await startReady(t, server);
  await one.link.allTold();
  server.fault = new Error('closed');
  server.drop(new Error('closed'));
  one.revoke('alice');
  let isTold = false;
  void one.link.allTold().then(() => {
    isTold = true;
  });
  assert.ok(!(await one.link.settled())());
  assert.equal(isTold, false);
  server.fault = undefined;
  await eventually('it is told', () => isTold);
  assert.ok((await one.link.settled())());
  assert.equal(numberKept(server), 1);
});

test('a revocation that is not kept is told again, without a new reading of all', async (t) => {
  const server = createMemoryStore();
  const { records } = await startReplica(t, server);
  const did = { keep: 0, readAll: 0 };
  let isRefused = true;
  const one = await start(t, server, {
    keep: async (...args) => {
      did.keep += 1;
      return isRefused ? 'failed' : records.keep(...args);
    },
    readAll: async (onPage) => {
      did.readAll += 1;
      return records.readAll(onPage);
    },
  });
  await eventually('it is in sync', () => one.link.status().in_sync);
  const before = did.readAll;
  one.revoke('alice');
  await eventually('it is told again', () => did.keep >= 2);
  isRefused = false;
  await eventually('it is kept', () => one.link.status().unshared === 0);
  assert.equal(did.readAll, before);
});

test('a store that comes back empty gets all revocations again', async (t) => {
  const server = createMemoryStore();
  const [one] = await Promise.all([startReady(t, server), startReady(t, server)]);
  for (const sub of ['alice', 'bob', 'carol']) one.revoke(sub);
  await one.link.settled();
  one.link.close();
  server.sets.clear();
  server.records.clear();
  server.drop(new Error('closed'));
  await eventually('they are kept again', () => numberKept(server) === 3);
  const later = await startReady(t, server);
  assert.ok(later.knows('carol'));
});

test('a record that was altered is written again', async (t) => {
  const server = createMemoryStore();
  const one = await startReady(t, server);
  one.revoke('alice');
  await one.link.settled();
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
  before.revoke('alice');
  await before.link.settled();
  const during = await start(t, server, {}, { keys: [NEW_KEY, OLD_KEY] });
  await eventually('it has read and written', () => during.link.status().in_sync);
  const after = await startReady(t, server, {}, { keys: [NEW_KEY], graceMs: 3_600_000 });
  assert.ok(after.knows('alice'));
});

test('a replica that has not read the kept revocations is not ready, and refuses every token', async (t) => {
  const server = createMemoryStore();
  const one = await startReady(t, server);
  one.revoke('alice');
  await one.link.settled();
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

test('a replica that starts waits for running ones if the store has lost its data', async (t) => {
  const server = createMemoryStore();
  const one = await startReady(t, server);
  one.revoke('alice');
  await one.link.settled();
  server.fault = new Error('closed');
  server.drop(new Error('closed'));
  server.sets.clear();
  server.records.clear();
  const later = await start(t, server, {}, { graceMs: 3_600_000 });
  server.fault = undefined;
  await eventually('the later one is ready', () => later.link.isComplete);
  assert.ok(later.knows('alice'));
});

test('a replica starts without revocations if the store stays empty until the grace has passed', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const one = await start(t, server, {}, { graceMs: 4000, clock });
  await assert.rejects(one.link.prepare(), failsWith('ERR_REVOCATIONS_UNKNOWN', /running replicas may still write/));
  clock.advance(4000);
  await ready(one);
  // From then on, no replica waits.
  await startReady(t, server, {}, { graceMs: 4000, clock });
});

test('running replicas tell each other of a revocation that the store has no room for', async (t) => {
  const server = createMemoryStore();
  const [one, other] = [await start(t, server, { keep: async () => 'full' }), await start(t, server)];
  await Promise.all([one, other].map(ready));
  one.revoke('alice');
  await one.link.settled();
  assert.deepEqual(one.link.status(), { unshared: 0, in_sync: true, full: true });
  assert.deepEqual([other.knows('alice'), other.knows('anybody')], [true, false]);
});

test('a replica tells many revocations in messages that fit', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReady(t, server), startReady(t, server)]);
  for (let i = 0; i < 200; i += 1) one.revoke(`user-${i}`);
  await one.link.settled();
  assert.equal(other.revocations.size, 200);
  assert.equal(numberKept(server), 200);
  const sent = server.messages.filter(({ channel }) => channel.endsWith(':messages'));
  assert.ok(sent.length >= 4 && sent.length <= 10, String(sent.length));
});

test('an unexpected error in the kept revocations is logged, and they are read again', async (t) => {
  const server = createMemoryStore();
  let attempts = 0;
  const one = await start(t, server, {
    readAll: async () => {
      attempts += 1;
      if (attempts === 1) throw new Error('unexpected');
      return { count: 0, unreadable: 0, isFull: false, isSeeded: true };
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
  const malformed = [
    null,
    1,
    'text',
    [],
    [key],
    [key, 1, 1],
    [key, ISSUER, 'now'],
    ['short', ISSUER, 1],
    [key, 'x'.repeat(3000), 1],
  ];
  await one.messages.publish('revoked', malformed);
  await one.messages.publish('revoked', { length: 1 });
  await one.messages.publish('revoked', null);
  for (const [index, value] of malformed.entries()) await one.records.keep(String(index), value, Date.now() + 60_000);
  const later = await startReady(t, server);
  assert.deepEqual([other.revocations.size, later.revocations.size], [0, 0]);
});
