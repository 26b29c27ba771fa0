import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import { KEEP, RECALL } from '../../../src/shared-cache/scripts.ts';
import { eventually } from '../../harness/eventually.ts';
import { createMemoryStore, type MemoryStore, spoil } from '../../harness/memory-store.ts';
import { startReplica } from '../../unit/shared-cache/replica.ts';
import { start } from '../../unit/signals/joined-replica.ts';

/** No replica goes on without a reply meanwhile. */
const GRACE_MS = 60_000;
/** Each takes half a second. They need no real store, and are too slow for `npm test`. */
const RUNS = 25;

/** Acts of replicas, and of an attacker at the server. Numbers choose among replicas, or among records. */
const STEPS = {
  revoke: 4,
  start: 3,
  stop: 1,
  /** Deletes all records, or half of them. */
  deleteAll: 1,
  deleteSome: 1,
  alter: 1,
  flood: 2,
  /** Delivers each message again. */
  replay: 2,
  /** Closes all connections. */
  disconnect: 1,
} as const;

const step = fc.oneof(
  ...Object.entries(STEPS).map(([kind, weight]) => ({
    weight,
    arbitrary: fc.record({ kind: fc.constant(kind as keyof typeof STEPS), at: fc.nat() }),
  })),
);

/** A store that can be flooded: it then has a page of junk for each page that is read, and no room. */
function createFloodable(): { server: MemoryStore; flood(on: boolean): void } {
  const server = createMemoryStore();
  const { connect } = server;
  let isFlooded = false;
  server.connect = async (...args) => {
    const connection = await connect(...args);
    return {
      ...connection,
      async run(script, keys, values) {
        if (isFlooded && script.name === RECALL.name) return [String(values[2])];
        if (isFlooded && script.name === KEEP.name) return 0;
        return connection.run(script, keys, values);
      },
    };
  };
  return {
    server,
    flood(on) {
      isFlooded = on;
    },
  };
}

async function createFleet(t: TestContext) {
  const { server, flood } = createFloodable();
  // The replicas that start first believe that they miss nothing.
  const { records, store } = await startReplica(t, server);
  await records.seed(Date.now() + 3_600_000);
  store.close();
  const running: Awaited<ReturnType<typeof start>>[] = [];
  const revoked: string[] = [];
  const pick = (at: number) => running[at % running.length] as (typeof running)[number];
  const add = async () => {
    const replica = await start(t, server, {}, { graceMs: GRACE_MS });
    running.push(replica);
    return replica;
  };
  const acts: Record<keyof typeof STEPS, (at: number) => unknown> = {
    async revoke(at) {
      revoked.push(`user-${revoked.length}`);
      pick(at).revoke(revoked.at(-1) as string);
      await pick(at).link.settled();
    },
    start: add,
    async stop(at) {
      // One other replica runs at any time.
      if (running.length <= 2) return;
      const [{ link, store: connected }] = running.splice(at % running.length, 1) as [(typeof running)[number]];
      await link.allTold();
      link.close();
      connected.close();
    },
    deleteAll() {
      server.records.clear();
      server.sets.clear();
      flood(false);
    },
    deleteSome: (at) => spoil(server, (index) => (index + at) % 2 === 0, undefined),
    alter: () => spoil(server, () => true, 'altered'),
    flood: () => flood(true),
    replay() {
      for (const { channel, message } of [...server.messages]) server.deliver(channel, message);
    },
    disconnect: () => server.drop(new Error('closed')),
  };
  await Promise.all([add(), add()]);
  return { running, revoked, acts };
}

test('whatever an attacker does, replicas refuse the revoked users and no other, while two of them run', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 4, maxLength: 14, size: 'max' }), async (steps) => {
      const { running, revoked, acts } = await createFleet(t);
      const areInSync = () =>
        running.every(({ link }) => link.isComplete && link.status().in_sync && link.status().unshared === 0);
      await eventually('the first are in sync', areInSync);
      for (const { kind, at } of steps) {
        await acts[kind](at);
        await eventually(`all are in sync after ${kind}`, areInSync);
        for (const { knows } of running) {
          for (const user of revoked) assert.ok(knows(user), `${user} after ${kind}`);
          assert.ok(!knows('another user'), kind);
        }
      }
      for (const { link, store } of running) {
        link.close();
        store.close();
      }
    }),
    { numRuns: RUNS, endOnFailure: true },
  );
});
