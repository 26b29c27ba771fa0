import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createShares } from '../../../src/tokens/shares.ts';

/** What shares are held to: entries in the order of their use, with whose they are. */
type Entry = { owner: string; key: string };

const step = fc.record({
  what: fc.constantFrom('add', 'add', 'use', 'remove'),
  owner: fc.constantFrom('alice', 'bob', 'carol'),
  number: fc.nat(8),
});

test('whatever is added, used and removed, only what is there gives way, the least recently used of one with too much', () => {
  fc.assert(
    fc.property(fc.constantFrom(1, 20, 30, 50), fc.array(step, { maxLength: 100 }), (maxEntries, steps) => {
      const share = Math.max(1, maxEntries / 10);
      const shares = createShares(maxEntries);
      let entries: Entry[] = [];
      const of = (owner: string) => entries.filter((entry) => entry.owner === owner);
      for (const { what, owner, number } of steps) {
        const key = `${owner}-${number}`;
        const others = entries.filter((entry) => entry.key !== key);
        const isThere = others.length < entries.length;
        if (what === 'add' && !isThere) {
          shares.add(owner, key);
          entries.push({ owner, key });
        } else if (what === 'use') {
          shares.use(owner, key);
          if (isThere) entries = [...others, { owner, key }];
        } else if (what === 'remove') {
          shares.remove(owner, key);
          entries = others;
        }
        for (const asker of ['alice', 'bob', 'carol', undefined]) {
          const greedy = ['alice', 'bob', 'carol'].filter((one) => of(one).length > share);
          const allowed = asker !== undefined && greedy.includes(asker) ? [asker] : greedy;
          const first = shares.firstToGiveWay(asker);
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
