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

test('reports that a message was not sent', async (t) => {
  const server = createMemoryStore();
  const { messages } = await startReplica(t, server);
  assert.equal(await messages.publish('revoked', 'x'.repeat(20_000)), false);
  server.fault = new Error('closed');
  assert.equal(await messages.publish('revoked', {}), false);
});
