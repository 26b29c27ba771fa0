import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPollTurns } from '../../../src/signals/poll-turns.ts';
import { createFakeClock } from '../../harness/fake-clock.ts';

/** The turns of replicas with one clock, and every message. */
function createReplicas(count: number) {
  const clock = createFakeClock();
  const listeners: ((payload: unknown) => void)[] = [];
  const said: unknown[] = [];
  const turns = Array.from({ length: count }, (_, self) => {
    const messages = {
      on: (_topic: string, listener: (payload: unknown) => void) => void listeners.push(listener),
      async publish(_topic: string, payload: unknown) {
        said.push(payload);
        for (const [index, listener] of listeners.entries()) if (index !== self) listener(payload);
        return true;
      },
    };
    return createPollTurns({ messages, name: 'idp', intervalMs: 1000, clock, random: () => self / count });
  });
  const deliver = (payload: unknown) => {
    for (const listener of listeners) listener(payload);
  };
  return { clock, turns, said, deliver };
}

test('a replica leaves the polls to another one until that one is late', () => {
  const { clock, turns } = createReplicas(3);
  assert.deepEqual(
    turns.map(({ leftMs }) => leftMs()),
    [0, 0, 0],
  );
  turns[0]?.announce();
  assert.deepEqual(
    turns.map(({ leftMs }) => Math.round(leftMs())),
    [0, 1233, 1367],
  );
  clock.advance(1000);
  turns[0]?.announce();
  assert.deepEqual(
    turns.map(({ leftMs }) => Math.round(leftMs())),
    [0, 1233, 1367],
  );
  clock.advance(1234);
  assert.equal(turns[1]?.leftMs(), 0);
  turns[1]?.announce();
  assert.ok((turns[0]?.leftMs() ?? 0) > 1000);
});

test('a replica polls every ten seconds, whatever others say', () => {
  const { clock, turns } = createReplicas(2);
  for (let at = 0; at < 10; at += 1) {
    turns[0]?.announce();
    clock.advance(1000);
  }
  assert.equal(turns[1]?.leftMs(), 0);
});

test('a replayed, old, foreign or malformed message delays no poll', () => {
  const { clock, turns, said, deliver } = createReplicas(2);
  turns[0]?.announce();
  clock.advance(2000);
  deliver(said[0]);
  const replica = 'r'.repeat(16);
  const now = clock.wallMs();
  for (const payload of [
    null,
    'text',
    [],
    ['other', replica, now],
    ['idp', 1, now],
    ['idp', 'short', now],
    ['idp', replica, 'now'],
    ['idp', replica, now - 6000],
    ['idp', replica, now + 6000],
  ])
    deliver(payload);
  assert.equal(turns[1]?.leftMs(), 0);
});
