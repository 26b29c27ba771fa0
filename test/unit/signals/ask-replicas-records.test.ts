import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { eventually } from '../../harness/eventually.ts';
import { createMemoryStore, spoil } from '../../harness/memory-store.ts';
import { startReplica } from '../shared-cache/replica.ts';
import { LONG, seeded, startTwo } from './asking.ts';
import { numberKept, ready, start, startReady } from './joined-replica.ts';

for (const [what, to] of [
  ['deleted', undefined],
  ['altered', 'altered'],
] as const) {
  test(`a replica that starts learns a revocation whose record was ${what}, before it is ready`, async (t) => {
    const server = await seeded(t);
    const [seed = ''] = [...([...server.records.values()][0]?.keys() ?? [])];
    const one = await start(t, server);
    await ready(one);
    one.revoke('alice');
    await one.link.settled();
    // The record that says that nothing is missing stays.
    spoil(server, (_, id) => id !== seed, to);
    const later = await start(t, server, {}, LONG);
    await ready(later);
    assert.deepEqual([later.knows('alice'), later.knows('bob')], [true, false]);
    assert.equal(later.asked('replied'), 1);
  });
}

test('a replica that starts refuses no other caller while a running one knows what a full store lacks', async (t) => {
  const server = await seeded(t);
  const one = await startReady(t, server, { keep: async () => 'full' }, { ...LONG, random: () => 0 });
  one.revoke('alice');
  await one.link.settled();
  const flooded = { readAll: async () => ({ count: 0, unreadable: 100_000, isFull: true, isSeeded: false }) };
  const later = await startReady(t, server, flooded, { ...LONG, random: () => 0 });
  assert.deepEqual([later.knows('alice'), later.knows('anybody')], [true, false]);
  server.drop(new Error('closed'));
  await eventually('both reconnected', () => one.link.status().in_sync && later.asked('replied') >= 2);
  assert.deepEqual([later.knows('anybody'), one.knows('anybody')], [false, false]);
});

test('a replica refuses all older tokens if the store is full and no other replica replies, and so does the next', async (t) => {
  const server = createMemoryStore();
  const running = await startReady(t, server);
  server.withholds = true;
  const flooded = { readAll: async () => ({ count: 0, unreadable: 0, isFull: true, isSeeded: true }) };
  const later = await startReady(t, server, flooded, { graceMs: 50 });
  assert.ok(later.knows('anybody'));
  assert.equal(later.asked('no_reply'), 1);
  assert.ok(later.lines.some((line) => line.startsWith('the shared cache is full of revocations')));
  running.link.close();
  server.withholds = false;
  // It may have missed as much as the one that replies.
  const next = await startReady(t, server, flooded, LONG);
  assert.ok(next.knows('anybody'));
});

test('a replica that starts after a flood refuses the older tokens that another one refused during it', async (t) => {
  const server = await seeded(t);
  const flooded = { readAll: async () => ({ count: 0, unreadable: 100_000, isFull: true, isSeeded: true }) };
  const alone = await startReady(t, server, flooded, { graceMs: 50 });
  assert.ok(alone.knows('anybody'));
  await eventually('it is kept', () => numberKept(server) === 1);
  alone.link.close();
  alone.store.close();
  const next = await startReady(t, server, {}, LONG);
  assert.ok(next.knows('anybody'));
});

const what = fc.constantFrom('deleted', 'altered', 'exchanged', 'kept');

test('whatever happens to the records, a replica that starts knows what running ones know, and nothing else', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(what, { minLength: 1, maxLength: 60 }), async (acts) => {
      const server = await seeded(t);
      const one = await start(t, server, {}, { ...LONG, random: () => 0 });
      await ready(one);
      for (const [user] of acts.entries()) one.revoke(`user-${user}`);
      await one.link.settled();
      const [records = new Map<string, string>()] = [...server.records.values()];
      for (const [at, id] of [...records.keys()].entries()) {
        const act = acts[at % acts.length];
        if (act === 'altered') records.set(id, `${records.get(id)?.slice(1)}A`);
        if (act === 'exchanged') records.set(id, [...records.values()][0] ?? '');
        if (act === 'deleted') spoil(server, (_, each) => each === id, undefined);
      }
      const later = await start(t, server, {}, LONG);
      await ready(later);
      const known = ({ revocations }: typeof one) => revocations.list().map(({ key }) => key);
      assert.deepEqual(new Set(known(later)), new Set(known(one)));
      for (const each of [one, later]) {
        each.link.close();
        each.store.close();
      }
    }),
    { numRuns: 15 },
  );
});

test('of replicas that start after the store lost its records, one writes them again', async (t) => {
  const { server, one, other } = await startTwo(t);
  for (let i = 0; i < 50; i += 1) one.revoke(`user-${i}`);
  await one.link.settled();
  const writes = [0, 0, 0];
  const { records } = await startReplica(t, server);
  server.records.clear();
  server.sets.clear();
  const late = await Promise.all(
    writes.map((_, index) => {
      const keep: typeof records.keep = (...args) => {
        writes[index] = (writes[index] ?? 0) + 1;
        return records.keep(...args);
      };
      return start(t, server, { keep }, { ...LONG, random: () => (index === 0 ? 0.02 : 0.9) });
    }),
  );
  await Promise.all(late.map(ready));
  await eventually('all are kept', () => numberKept(server) === 51);
  assert.deepEqual(writes, [51, 0, 0]);
  assert.equal(other.revocations.size, 51);
});
