import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createShares } from '../../../src/tokens/shares.ts';

/** The model: entries with their owner, the least recently used first. */
type Entry = { owner: string; key: string };

const step = fc.record({
  action: fc.constantFrom('add', 'add', 'use', 'remove'),
  owner: fc.constantFrom('alice', 'bob', 'carol'),
  number: fc.nat(8),
});

test('always chooses the least recently used entry of an owner that exceeds its share', () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 20, 30, 50), fc.array(step, { maxLength: 100 }), (maxEntries, steps) => {
      const share = Math.max(1, maxEntries / 10);
      const shares = createShares(maxEntries);
      let entries: Entry[] = [];
      const of = (owner: string) => entries.filter((entry) => entry.owner === owner);
      for (const { action, owner, number } of steps) {
        const key = `${owner}-${number}`;
        const others = entries.filter((entry) => entry.key !== key);
        const exists = others.length < entries.length;
        if (action === 'add' && !exists) {
          shares.add(owner, key);
          entries.push({ owner, key });
        } else if (action === 'use') {
          shares.use(owner, key);
          if (exists) entries = [...others, { owner, key }];
        } else if (action === 'remove') {
          shares.remove(owner, key);
          entries = others;
        }
        for (const requester of ['alice', 'bob', 'carol', undefined]) {
          const greedy = ['alice', 'bob', 'carol'].filter((one) => of(one).length > share);
          const allowed = requester !== undefined && greedy.includes(requester) ? [requester] : greedy;
          const first = shares.firstToGiveWay(requester);
          if (allowed.length === 0) assert.equal(first, undefined);
          else
            assert.ok(
              allowed.some((one) => of(one)[0]?.key === first),
              `${first} gives way`,
            );
        }
      }
    }),
  );
});
