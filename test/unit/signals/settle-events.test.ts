import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { InvalidSignal } from '../../../src/signals/events.ts';
import type { IsShared } from '../../../src/signals/publisher.ts';
import { createEventSettler } from '../../../src/signals/settle-events.ts';
import { TransmitterError } from '../../../src/signals/transmitter-client.ts';

test('applies all events of a poll before it waits until the shared cache has them', async () => {
  const taken: string[] = [];
  let finish = (_isShared: IsShared) => {};
  const result = new Promise<IsShared>((resolve) => (finish = resolve));
  const settler = createEventSettler({
    name: 'idp',
    take: (token) => {
      taken.push(token);
      return result;
    },
  });
  const settled = settler.settle([
    ['1', 'alice'],
    ['2', 'bob'],
  ]);
  assert.deepEqual(taken, ['alice', 'bob']);
  finish(() => true);
  assert.equal(await settled, true);
  assert.deepEqual(settler.results(), { ack: ['1', '2'] });
});

test('settles each event by its own result, whichever is known first', async () => {
  let finish = (_isShared: IsShared) => {};
  const slow = new Promise<IsShared>((resolve) => (finish = resolve));
  const results: Readonly<Record<string, () => Promise<IsShared>>> = {
    slow: () => slow,
    held: async () => () => false,
    invalid: async () => {
      throw new InvalidSignal('invalid_audience', 'not for cambist');
    },
    keyless: async () => {
      finish(() => true);
      throw new CambistError('ERR_STS_UNAVAILABLE', 'no keys');
    },
  };
  const settler = createEventSettler({
    name: 'idp',
    take: async (token) => (results[token] as () => Promise<IsShared>)(),
  });
  const sets = Object.keys(results).map((name) => [name, name] as const);
  await assert.rejects(settler.settle(sets), (error) => error instanceof TransmitterError && error.problem === 'keys');
  assert.equal(settler.held, 1);
  assert.deepEqual(settler.results(), {
    ack: ['slow'],
    setErrs: { invalid: { err: 'invalid_audience', description: 'not for cambist' } },
  });
});

test('acknowledges each event as soon as the shared cache has it, whatever else waits', async () => {
  const shared = new Set<string>();
  const settler = createEventSettler({ name: 'idp', take: async (token) => () => shared.has(token) });
  const sets = ['alice', 'bob', 'carol'].map((name) => [name, name] as const);
  await settler.settle(sets);
  assert.deepEqual([settler.results(), settler.held], [{}, 3]);
  shared.add('bob');
  assert.deepEqual([settler.results(), settler.held], [{ ack: ['bob'] }, 2]);
  // It comes again, because the transmitter does not know that yet, and is not applied again.
  await settler.settle(sets.slice(0, 1));
  assert.deepEqual([settler.results(), settler.held], [{ ack: ['bob'] }, 2]);
});
