import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CambistError } from '../../../src/errors.ts';
import { InvalidSignal } from '../../../src/signals/events.ts';
import { TransmitterError } from '../../../src/signals/problems.ts';
import { createEventSettler } from '../../../src/signals/settle-events.ts';
import type { IsTold } from '../../../src/signals/tell-replicas.ts';

test('applies all events of a poll before it waits until other replicas know them', async () => {
  const taken: string[] = [];
  let told = (_isTold: IsTold) => {};
  const result = new Promise<IsTold>((resolve) => (told = resolve));
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
  told(() => true);
  assert.equal(await settled, true);
  assert.deepEqual(settler.results(), { ack: ['1', '2'] });
});

test('settles each event by its own result, whichever is known first', async () => {
  let finish = (_isTold: IsTold) => {};
  const slow = new Promise<IsTold>((resolve) => (finish = resolve));
  const results: Readonly<Record<string, () => Promise<IsTold>>> = {
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
    take: async (token) => (results[token] as () => Promise<IsTold>)(),
  });
  const sets = Object.keys(results).map((name) => [name, name] as const);
  await assert.rejects(settler.settle(sets), (error) => error instanceof TransmitterError && error.problem === 'keys');
  assert.equal(settler.held, 1);
  assert.deepEqual(settler.results(), {
    ack: ['slow'],
    setErrs: { invalid: { err: 'invalid_audience', description: 'not for cambist' } },
  });
});

test('acknowledges each event as soon as other replicas know it, whatever else they do not know', async () => {
  const told = new Set<string>();
  const settler = createEventSettler({ name: 'idp', take: async (token) => () => told.has(token) });
  const sets = ['alice', 'bob', 'carol'].map((name) => [name, name] as const);
  await settler.settle(sets);
  assert.deepEqual([settler.results(), settler.held], [{}, 3]);
  told.add('bob');
  assert.deepEqual([settler.results(), settler.held], [{ ack: ['bob'] }, 2]);
  // It comes again, because the transmitter does not know that yet, and is not applied again.
  await settler.settle(sets.slice(0, 1));
  assert.deepEqual([settler.results(), settler.held], [{ ack: ['bob'] }, 2]);
});
