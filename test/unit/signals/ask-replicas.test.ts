import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { newId, writeReply } from '../../../src/signals/replica-wire.ts';
import { eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { startReplica } from '../shared-cache/replica.ts';
import { ISSUER, numberKept, ready, start } from './joined-replica.ts';

/** Longer than any test. A replica that is ready earlier got a reply, or is alone. It replies to no other one meanwhile. */
const LONG = { graceMs: 3_600_000, random: () => 40 };
const SOON = { ...LONG, askAgainMs: 100 };

/** A store that says that it has everything. */
async function seeded(t: TestContext): Promise<MemoryStore> {
  const server = createMemoryStore();
  const { records, store } = await startReplica(t, server);
  await records.seed(Date.now() + 3_600_000);
  store.close();
  return server;
}

/** Two running replicas, which know that alice is revoked. The first one replies at once. */
async function startTwo(t: TestContext, { otherMs = 10_000 } = {}) {
  const server = await seeded(t);
  const one = await start(t, server, {}, { ...LONG, random: () => 0 });
  await ready(one);
  const other = await start(t, server, {}, { ...LONG, random: () => otherMs / 250 });
  await ready(other);
  one.revoke('alice');
  await one.link.settled();
  return { server, one, other };
}

/** Listens on the channel. */
async function bystander(t: TestContext, server: MemoryStore) {
  const { messages } = await startReplica(t, server);
  const replies: { id: string; to: readonly string[]; index: number }[] = [];
  messages.on('revocations_replied', (payload) => replies.push(payload as (typeof replies)[number]));
  return { replies, messages };
}

/** No question has two replies. A reply may have been replayed. */
function assertRepliedOnce(replies: readonly { id: string; to: readonly string[] }[]): void {
  const byId = new Map(replies.map(({ id, to }) => [id, to]));
  const questions = [...byId.values()].flat();
  assert.ok(questions.length > 0);
  assert.equal(new Set(questions).size, questions.length);
}

/** Changes every kept revocation, but not the record that says that nothing is missing. @param to undefined: deletes it */
function spoil(server: MemoryStore, seed: string, to: string | undefined): void {
  for (const [name, records] of server.records) {
    const set = server.sets.get(name.replace(/:values$/, ''));
    for (const id of [...records.keys()].filter((id) => id !== seed)) {
      if (to !== undefined) records.set(id, to);
      else {
        records.delete(id);
        set?.delete(id);
      }
    }
  }
}

for (const [what, to] of [
  ['deleted', undefined],
  ['altered', 'altered'],
] as const) {
  test(`a replica that starts learns a revocation whose record was ${what}, before it is ready`, async (t) => {
    const server = await seeded(t);
    const [seed = ''] = [...([...server.records.values()][0]?.keys() ?? [])];
    const one = await start(t, server);
    await ready(one);
    one.revoke('alice');
    await one.link.settled();
    spoil(server, seed, to);
    const later = await start(t, server, {}, LONG);
    await ready(later);
    assert.deepEqual([later.knows('alice'), later.knows('bob')], [true, false]);
    assert.equal(later.asked('replied'), 1);
  });
}

test('a replica that starts refuses no other caller while a running one knows what a full store lacks', async (t) => {
  const server = await seeded(t);
  const one = await start(t, server, { keep: async () => 'full' }, { ...LONG, random: () => 0 });
  await ready(one);
  one.revoke('alice');
  await one.link.settled();
  const flooded = { readAll: async () => ({ count: 0, unreadable: 100_000, isFull: true, isSeeded: false }) };
  const later = await start(t, server, flooded, { ...LONG, random: () => 0 });
  await ready(later);
  assert.deepEqual([later.knows('alice'), later.knows('anybody')], [true, false]);
  server.drop(new Error('closed'));
  await eventually('both reconnected', () => one.link.status().in_sync && later.asked('replied') >= 2);
  assert.deepEqual([later.knows('anybody'), one.knows('anybody')], [false, false]);
});

test('a replica refuses all older tokens if the store is full and no other replica replies, and so does the next', async (t) => {
  const server = createMemoryStore();
  const running = await start(t, server);
  await ready(running);
  server.withholds = true;
  const flooded = { readAll: async () => ({ count: 0, unreadable: 0, isFull: true, isSeeded: true }) };
  const later = await start(t, server, flooded, { graceMs: 50 });
  await ready(later);
  assert.ok(later.knows('anybody'));
  assert.equal(later.asked('no_reply'), 1);
  assert.ok(later.lines.some((line) => line.startsWith('the shared cache is full of revocations')));
  running.link.close();
  server.withholds = false;
  // It may have missed as much as the one that replies.
  const next = await start(t, server, flooded, LONG);
  await ready(next);
  assert.ok(next.knows('anybody'));
});

test('ignores a replayed reply, and waits for a new one', async (t) => {
  const { server, one, other } = await startTwo(t);
  const first = await start(t, server, {}, LONG);
  await ready(first);
  const replayed = [...server.messages];
  for (const each of [one, other, first]) {
    each.link.close();
    each.store.close();
  }
  server.isCluster = true;
  const later = await start(t, server, {}, SOON);
  const asks = server.messages.length;
  await eventually('it asks', () => server.messages.length > asks);
  for (const { channel, message } of replayed) server.deliver(channel, message);
  const questions = () => server.messages.filter(({ channel }) => channel.endsWith(':messages')).length;
  const before = questions();
  await eventually('it asks again', () => questions() > before);
  assert.equal(later.link.isComplete, false);
});

test('a reply to an earlier one of its questions counts, because a busy replica replies late', async (t) => {
  const server = await seeded(t);
  const { messages } = await bystander(t, server);
  const asked: string[] = [];
  messages.on('revocations_asked', (payload) => asked.push((payload as { id: string }).id));
  const later = await start(t, server, {}, SOON);
  await eventually('it has asked again', () => asked.length >= 2);
  const reply = { id: newId(), to: asked.slice(0, 1), index: 0, count: 1, parts: [], entries: [] };
  await messages.publish('revocations_replied', writeReply(reply));
  await ready(later);
  assert.equal(later.asked('replied'), 1);
});

test('replicas of a full store that reconnect at the same time reply to each other, even late', async (t) => {
  const server = createMemoryStore();
  const full = { readAll: async () => ({ count: 0, unreadable: 100_000, isFull: true, isSeeded: true }) };
  const one = await start(t, server, {}, { graceMs: 0 });
  await ready(one);
  // Each replies 1050 ms after a question, and asks again after 1100 ms, as where every timer is late.
  const late = { graceMs: 60_000, askAgainMs: 1100, random: () => 2.2 };
  const [two, three] = [await start(t, server, full, late), await start(t, server, full, late)];
  await Promise.all([ready(two), ready(three)]);
  one.link.close();
  one.store.close();
  server.drop(new Error('closed'));
  await eventually('both are in sync', () => two.asked('replied') + three.asked('replied') >= 4);
  assert.deepEqual([two.knows('anybody'), three.knows('anybody')], [false, false]);
});

test('a replayed question gets one reply', async (t) => {
  const { server } = await startTwo(t);
  const { replies } = await bystander(t, server);
  const before = server.messages.length;
  const later = await start(t, server, {}, LONG);
  await ready(later);
  for (const { channel, message } of server.messages.slice(before)) server.deliver(channel, message);
  // Its own question gets its reply after those.
  const last = await start(t, server, {}, LONG);
  await ready(last);
  assertRepliedOnce(replies);
});

test('another replica replies if the first one dies during its reply', async (t) => {
  const { server, one } = await startTwo(t, { otherMs: 250 });
  for (let i = 0; i < 200; i += 1) one.revoke(`user-${i}`);
  await one.link.settled();
  server.records.clear();
  server.sets.clear();
  const { replies, messages } = await bystander(t, server);
  messages.on('revocations_replied', () => {
    one.link.close();
    one.store.close();
  });
  const later = await start(t, server, {}, SOON);
  await ready(later);
  assert.ok(later.knows('alice') && later.knows('user-199'));
  assert.ok(new Set(replies.map(({ id }) => id)).size >= 2);
});

test('each question gets one reply', async (t) => {
  const { server } = await startTwo(t);
  const { replies } = await bystander(t, server);
  for (let i = 0; i < 3; i += 1) await ready(await start(t, server, {}, LONG));
  assertRepliedOnce(replies);
});

test('many replicas that start at the same time cost few replies', async (t) => {
  const { server } = await startTwo(t);
  const { replies } = await bystander(t, server);
  const later = await Promise.all(Array.from({ length: 30 }, () => start(t, server, {}, LONG)));
  await Promise.all(later.map(ready));
  assert.ok(later.every(({ knows }) => knows('alice')));
  assert.ok(replies.length < later.length, String(replies.length));
});

test('a replica tells the one that replies what the reply lacks', async (t) => {
  const { server, one, other } = await startTwo(t);
  // As if a failover had lost the message and the record.
  one.revocations.restore([{ key: 'k'.repeat(43), issuer: ISSUER, atMs: Date.now() }]);
  assert.equal(other.revocations.size, 1);
  server.drop(new Error('closed'));
  await eventually('the other one knows', () => other.revocations.size === 2);
  await eventually('it is kept', () => numberKept(server) === 2);
});

test('a replica that runs alone waits for no other', async (t) => {
  const server = await seeded(t);
  const alone = await start(t, server, {}, LONG);
  await ready(alone);
  assert.equal(alone.asked('alone'), 1);
});

test('replicas that start at the same time wait for no other, because each hears that the others start', async (t) => {
  const server = await seeded(t);
  const all = await Promise.all(
    Array.from({ length: 5 }, () => start(t, server, {}, { ...LONG, random: Math.random })),
  );
  await Promise.all(all.map(ready));
  assert.ok(all.some(({ asked }) => asked('alone') === 1));
});

test('a replayed question of a replica that started earlier makes no other replica believe that it is alone', async (t) => {
  const { server, one, other } = await startTwo(t);
  for (const { link } of [one, other]) link.close();
  const replayed = [...server.messages];
  const later = await start(t, server, {}, SOON);
  // Two connections receive the question, and their replicas do not reply.
  for (const { channel, message } of replayed) server.deliver(channel, message);
  const before = server.messages.length;
  await eventually('it asks again', () => server.messages.length > before + 1);
  for (const { channel, message } of replayed) server.deliver(channel, message);
  assert.equal(later.link.isComplete, false);
});

test('a replica waits three times as long for a running one that is busy', async (t) => {
  const { server, one, other } = await startTwo(t);
  for (const { link } of [one, other]) link.close();
  const clock = createFakeClock();
  const asks = () => server.messages.filter(({ channel }) => channel.endsWith(':messages')).length;
  let before = asks();
  const later = await start(t, server, {}, { ...SOON, graceMs: 4000, clock });
  for (const passedMs of [4000, 7999]) {
    await eventually('it asks', () => asks() > before);
    before = asks();
    clock.advance(passedMs);
  }
  await eventually('it asks again', () => asks() > before);
  assert.equal(later.link.isComplete, false);
  clock.advance(1);
  await ready(later);
  assert.equal(later.asked('no_reply'), 1);
});

test('a replica on a cluster waits until the grace has passed, because others may run', async (t) => {
  const server = createMemoryStore();
  server.isCluster = true;
  const alone = await start(t, server, {}, { graceMs: 50 });
  await ready(alone);
  assert.deepEqual([alone.asked('alone'), alone.asked('no_reply')], [0, 1]);
});

test('a malformed question or reply changes nothing', async (t) => {
  const { server, other } = await startTwo(t);
  const { replies, messages } = await bystander(t, server);
  const id = 'i'.repeat(16);
  const entry = ['k'.repeat(43), ISSUER, Date.now()];
  const digests = 'd'.repeat(2048);
  const malformed = [
    null,
    1,
    'text',
    [],
    {},
    { id },
    { id: 'short', digests },
    { id, digests: 'short' },
    { id: 1, digests },
  ];
  const reply = { id, to: [id], index: 0, count: 1, parts: [], entries: [entry] };
  const malformedReplies = [
    { ...reply, id: 1 },
    { ...reply, to: 'text' },
    { ...reply, index: 1 },
    { ...reply, index: -1 },
    { ...reply, count: 0 },
    { ...reply, count: 1e9 },
    { ...reply, count: 0.5 },
    { ...reply, parts: 1 },
    { ...reply, entries: 'text' },
    { ...reply, to: [1, null, {}], parts: [-1, 999, 'x', null], entries: [null, ['short']] },
  ];
  for (const payload of malformed) await messages.publish('revocations_asked', payload);
  for (const payload of [...malformed, ...malformedReplies]) await messages.publish('revocations_replied', payload);
  await ready(await start(t, server, {}, LONG));
  assert.ok(replies.every(({ to }) => !to.includes(id)));
  assert.equal(other.revocations.size, 1);
});

const what = fc.constantFrom('deleted', 'altered', 'exchanged', 'kept');

test('whatever happens to the records, a replica that starts knows what running ones know, and nothing else', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(what, { minLength: 1, maxLength: 60 }), async (acts) => {
      const server = await seeded(t);
      const one = await start(t, server, {}, { ...LONG, random: () => 0 });
      await ready(one);
      for (const [user] of acts.entries()) one.revoke(`user-${user}`);
      await one.link.settled();
      const [records = new Map<string, string>()] = [...server.records.values()];
      const [set] = [...server.sets.values()];
      for (const [at, id] of [...records.keys()].entries()) {
        const act = acts[at % acts.length];
        if (act === 'altered') records.set(id, `${records.get(id)?.slice(1)}A`);
        if (act === 'exchanged') records.set(id, [...records.values()][0] ?? '');
        if (act !== 'deleted') continue;
        records.delete(id);
        set?.delete(id);
      }
      const later = await start(t, server, {}, LONG);
      await ready(later);
      const known = ({ revocations }: typeof one) => revocations.list().map(({ key }) => key);
      assert.deepEqual(new Set(known(later)), new Set(known(one)));
      for (const each of [one, later]) {
        each.link.close();
        each.store.close();
      }
    }),
    { numRuns: 15 },
  );
});

test('of replicas that start after the store lost its records, one writes them again', async (t) => {
  const { server, one, other } = await startTwo(t);
  for (let i = 0; i < 50; i += 1) one.revoke(`user-${i}`);
  await one.link.settled();
  const writes = [0, 0, 0];
  const { records } = await startReplica(t, server);
  server.records.clear();
  server.sets.clear();
  const late = await Promise.all(
    writes.map((_, index) => {
      const keep: typeof records.keep = (...args) => {
        writes[index] = (writes[index] ?? 0) + 1;
        return records.keep(...args);
      };
      return start(t, server, { keep }, { ...LONG, random: () => (index === 0 ? 0.02 : 0.9) });
    }),
  );
  await Promise.all(late.map(ready));
  await eventually('all are kept', () => numberKept(server) === 51);
  assert.deepEqual(writes, [51, 0, 0]);
  assert.equal(other.revocations.size, 51);
});
