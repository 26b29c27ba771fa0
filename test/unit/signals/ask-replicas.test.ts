import assert from 'node:assert/strict';
import { test } from 'node:test';
import { newId, writeReply } from '../../../src/signals/replica-wire.ts';
import { eventually } from '../../harness/eventually.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { assertRepliedOnce, bystander, LONG, SOON, seeded, startTwo } from './asking.ts';
import { ISSUER, numberKept, ready, start, startReady } from './joined-replica.ts';

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
  const one = await startReady(t, server, {}, { graceMs: 0 });
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
  const later = await startReady(t, server, {}, SOON);
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
  const alone = await startReady(t, server, {}, LONG);
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

test('a replica of a full store waits as long, even where nothing says that another one runs', async (t) => {
  const server = createMemoryStore();
  server.isCluster = true;
  const full = { readAll: async () => ({ count: 0, unreadable: 100_000, isFull: true, isSeeded: true }) };
  const clock = createFakeClock();
  const asks = () => server.messages.filter(({ channel }) => channel.endsWith(':messages')).length;
  const later = await start(t, server, full, { ...SOON, graceMs: 4000, clock });
  await eventually('it asks', () => asks() > 0);
  clock.advance(11_999);
  const before = asks();
  await eventually('it asks again', () => asks() > before);
  assert.equal(later.link.isComplete, false);
  clock.advance(1);
  await ready(later);
  assert.equal(later.asked('no_reply'), 1);
});

test('a replica on a cluster waits until the grace has passed, because others may run', async (t) => {
  const server = createMemoryStore();
  server.isCluster = true;
  const alone = await startReady(t, server, {}, { graceMs: 50 });
  assert.deepEqual([alone.asked('alone'), alone.asked('no_reply')], [0, 1]);
});
