import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { assertRepliedOnce, bystander, LONG, SOON, startTwo } from './asking.ts';
import { ISSUER, ready, start, startReady } from './joined-replica.ts';

test('ignores a replayed reply, and waits for a new one', async (t) => {
  const { server, one, other } = await startTwo(t);
  const first = await startReady(t, server, {}, LONG);
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

test('a replayed question gets one reply', async (t) => {
  const { server } = await startTwo(t);
  const { replies } = await bystander(t, server);
  const before = server.messages.length;
  await startReady(t, server, {}, LONG);
  for (const { channel, message } of server.messages.slice(before)) server.deliver(channel, message);
  // Its own question gets its reply after those.
  await startReady(t, server, {}, LONG);
  assertRepliedOnce(replies);
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
