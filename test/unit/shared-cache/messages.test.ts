import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFakeClock } from '../../harness/fake-clock.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { NEW_KEY, OLD_KEY, startReplica } from './replica.ts';

test('a message reaches the other replicas, and not its sender', async (t) => {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReplica(t, server), startReplica(t, server)]);
  const got: unknown[] = [];
  one.messages.on('revoked', () => got.push('own'));
  other.messages.on('revoked', (payload) => got.push(payload));
  other.messages.on('session_ended', () => got.push('another topic'));
  assert.equal(await one.messages.publish('revoked', { sub: 'alice' }), true);
  assert.deepEqual(got, [{ sub: 'alice' }]);
});

test('drops a message that is altered, forged, of another key, or old', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const one = await startReplica(t, server, { clock });
  const other = await startReplica(t, server, { clock });
  const stranger = await startReplica(t, server, { clock, keys: [OLD_KEY] });
  let got = 0;
  other.messages.on('revoked', () => {
    got += 1;
  });
  await one.messages.publish('revoked', {});
  assert.equal(got, 1);
  const { channel = '', message = '' } = server.messages[0] ?? {};
  for (const forged of [`${message}A`, message.slice(1), '{}', '', 'A'.repeat(100_000)])
    server.deliver(channel, forged);
  await stranger.messages.publish('revoked', {});
  clock.advance(66_000);
  server.deliver(channel, message);
  assert.equal(got, 1);
  assert.equal(other.counted('receive', 'invalid'), 7);
});

test('opens messages of replicas that still seal under the older key', async (t) => {
  const server = createMemoryStore();
  const before = await startReplica(t, server, { keys: [OLD_KEY, NEW_KEY] });
  const after = await startReplica(t, server, { keys: [NEW_KEY, OLD_KEY] });
  const got: unknown[] = [];
  after.messages.on('revoked', (payload) => got.push(payload));
  await before.messages.publish('revoked', 1);
  assert.deepEqual(got, [1]);
});

test('tells that a message was not sent', async (t) => {
  const server = createMemoryStore();
  const { messages } = await startReplica(t, server);
  assert.equal(await messages.publish('revoked', 'x'.repeat(20_000)), false);
  server.fault = new Error('closed');
  assert.equal(await messages.publish('revoked', {}), false);
});

test('keeps records until they expire, and reads all of them', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const one = await startReplica(t, server, { clock });
  for (let i = 0; i < 1100; i += 1) assert.equal(await one.records.keep(i, clock.wallMs() + 10_000 + i), true);
  const other = await startReplica(t, server, { clock });
  assert.deepEqual(
    await other.records.readAll(),
    Array.from({ length: 1100 }, (_, i) => i),
  );
  clock.advance(10_500);
  assert.equal((await other.records.readAll())?.length, 599);
  assert.equal(await one.records.keep('over', clock.wallMs()), true);
});

test('neither a forged record nor a prolonged one is read', async (t) => {
  const server = createMemoryStore();
  const clock = createFakeClock();
  const { records, counted } = await startReplica(t, server, { clock });
  await records.keep('short', clock.wallMs() + 1000);
  const [set] = [...server.sets.values()];
  for (const record of [...(set?.keys() ?? [])]) set?.set(record, clock.wallMs() + 1e9);
  set?.set('forged', clock.wallMs() + 1e9);
  set?.set('x'.repeat(20_000), clock.wallMs() + 1e9);
  clock.advance(2000);
  assert.deepEqual(await records.readAll(), []);
  assert.equal(counted('recall', 'invalid'), 1);
});

test('tells that records cannot be kept or read', async (t) => {
  const server = createMemoryStore();
  const { records } = await startReplica(t, server);
  assert.equal(await records.keep('x'.repeat(20_000), Date.now() + 1000), false);
  server.fault = new Error('closed');
  assert.equal(await records.keep({}, Date.now() + 1000), false);
  assert.equal(await records.readAll(), undefined);
});
