import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createEvictionOrder } from '../../../src/inbound/eviction-order.ts';

interface Entry {
  readonly name: number;
  readonly caller: string;
  readonly requests: Set<number>;
}

/** The entries that may be evicted next, found by a search through all. */
function expected(entries: readonly Entry[], caller: string | undefined, share: number): readonly Entry[] {
  const idle = entries.filter(({ requests }) => requests.size === 0);
  const total = (one: string) => entries.filter((entry) => entry.caller === one).length;
  const greedy = [...new Set(idle.map((entry) => entry.caller))].filter((one) => total(one) > share);
  const losers = caller !== undefined && greedy.includes(caller) ? [caller] : greedy;
  if (losers.length === 0) return idle.slice(0, 1);
  return losers.flatMap((loser) => idle.filter((entry) => entry.caller === loser).slice(0, 1));
}

const callers = fc.constantFrom('a', 'b', 'c');
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('add' as const), caller: callers }),
    fc.record({
      kind: fc.constantFrom('use' as const, 'begin' as const, 'end' as const, 'remove' as const),
      at: fc.nat(),
    }),
    fc.record({ kind: fc.constant('next' as const), caller: fc.option(callers, { nil: undefined }) }),
  ),
  { maxLength: 60 },
);

test('evicts the least recently used entry without a request, of a caller beyond its share first', () => {
  fc.assert(
    fc.property(steps, fc.integer({ min: 1, max: 40 }), fc.nat({ max: 60 }), (all, max, builtAt) => {
      /** The least recently used first. */
      let entries: Entry[] = [];
      let order: ReturnType<typeof createEvictionOrder<Entry>> | undefined;
      const touch = (entry: Entry): void => {
        entries = [...entries.filter((other) => other !== entry), entry];
        order?.use(entry);
      };
      for (const [index, step] of all.entries()) {
        // Built in the middle of its life, as at the bound.
        if (index >= builtAt) order ??= createEvictionOrder(entries, max);
        if (step.kind === 'next') {
          const found = order?.next(step.caller);
          const wanted = expected(entries, step.caller, Math.max(1, max * 0.1));
          if (order !== undefined) assert.ok(found === undefined ? wanted.length === 0 : wanted.includes(found));
        } else if (step.kind === 'add') {
          const entry = { name: index, caller: step.caller, requests: new Set<number>() };
          entries.push(entry);
          order?.add(entry);
        } else {
          const entry = entries[step.at % Math.max(1, entries.length)];
          if (entry === undefined) continue;
          if (step.kind === 'remove') {
            entries = entries.filter((other) => other !== entry);
            order?.remove(entry);
          } else {
            if (step.kind === 'begin') entry.requests.add(index);
            if (step.kind === 'end') entry.requests.clear();
            touch(entry);
          }
        }
      }
    }),
  );
});

test('evicts handles of a caller with many requests in flight before those of a quiet caller', () => {
  const entry = (caller: string, isIdle: boolean) => ({ caller, requests: new Set(isIdle ? [] : [1]) });
  const quiet = entry('quiet', true);
  const held = Array.from({ length: 5 }, () => entry('greedy', false));
  const idle = entry('greedy', true);
  const order = createEvictionOrder([quiet, ...held, idle], 20);
  assert.equal(order.next('another'), idle);
  order.remove(idle);
  assert.equal(order.next('another'), quiet);
});
