import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MAX_EVENTS } from '../../../src/signals/send-polls.ts';
import { MAX_HELD } from '../../../src/signals/settle-events.ts';
import { TransmitterTooLarge } from '../../../src/signals/transmitter-client.ts';
import { run, sets } from './polling.ts';

test('leaves an event that only this process knows at the transmitter, until the shared cache has it', async () => {
  const state = { isShared: false, taken: [] as string[] };
  const { sent, pauses, results } = await run([sets('a', 'b'), sets('a', 'b'), sets('a', 'b', 'c'), {}], {
    take: async (token) => {
      state.taken.push(token);
      if (token === 'token of c') state.isShared = true;
      return state.isShared;
    },
    isShared: () => state.isShared,
  });
  assert.deepEqual(state.taken, ['token of a', 'token of b', 'token of c']);
  assert.deepEqual(
    sent.map(({ ack }) => ack),
    [undefined, undefined, undefined, ['c', 'a', 'b']],
  );
  assert.deepEqual(
    sent.map(({ maxEvents }) => maxEvents - MAX_EVENTS),
    [0, 2, 2, 0],
  );
  assert.deepEqual(pauses.slice(0, 3), [50, 5000, 50]);
  assert.deepEqual(new Set(results), new Set([undefined]));
});

test('leaves no more than a hundred events at the transmitter, so that new ones arrive', async () => {
  const names = (from: number) => Array.from({ length: MAX_EVENTS }, (_, at) => `event-${from + at}`);
  const replies = [0, MAX_EVENTS, 2 * MAX_EVENTS].map((from) => sets(...names(from)));
  const { sent } = await run([...replies, {}], { take: async () => false, isShared: () => false });
  assert.deepEqual(sent[3]?.ack, names(0));
  assert.equal(sent[3]?.maxEvents, MAX_EVENTS + MAX_HELD);
});

test('acknowledges what it left at the transmitter if the response is too large with it', async () => {
  const { sent } = await run([sets('a'), new TransmitterTooLarge('response', 'too large'), {}], {
    take: async () => false,
    isShared: () => false,
  });
  assert.deepEqual(sent[2]?.ack, ['a']);
});
