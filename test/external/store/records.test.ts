import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { KEEP, RECALL } from '../../../src/shared-cache/scripts.ts';
import { connectStore, type StoreConnection } from '../../../src/shared-cache/store-connection.ts';
import { createMemoryStore } from '../../harness/memory-store.ts';
import { SHARED } from '../../unit/shared-cache/replica.ts';
import { findStore, STORE_KINDS, type StoreKind } from './programs.ts';
import { startStore } from './store-process.ts';

const KEYS = ['cambist:{records}', 'cambist:{records}:values'];
const NOW = 1_800_000_000_000;

interface Kept {
  readonly id: string;
  readonly record: string;
  readonly inMs: number;
  readonly nowMs?: number;
  readonly most?: number;
  readonly unwanted?: string;
}

function using(connection: StoreConnection) {
  return {
    keep({ id, record, inMs, nowMs = NOW, most = 1000, unwanted = '' }: Kept): Promise<unknown> {
      const args = [id, record, NOW + inMs, nowMs, 60_000, most, 1000, unwanted].map(String);
      return connection.run(KEEP, KEYS, args);
    },
    async read(nowMs = NOW, offset = 0, most = 500, longest = 1000): Promise<unknown> {
      return connection.run(RECALL, KEYS, [nowMs, offset, most, longest].map(String));
    },
  };
}

/** Everything that the scripts do, as the replies of one server. */
async function replies(connection: StoreConnection): Promise<unknown[]> {
  const { keep, read } = using(connection);
  const all: unknown[] = [];
  const say = async (reply: Promise<unknown>): Promise<void> => void all.push(await reply);
  await say(read());
  await say(keep({ id: 'a', record: 'first', inMs: 1000 }));
  await say(keep({ id: 'b', record: 'second', inMs: 2000 }));
  await say(keep({ id: 'a', record: 'later', inMs: 3000 }));
  await say(keep({ id: 'a', record: 'earlier', inMs: 500 }));
  await say(read());
  await say(keep({ id: 'a', record: 'not this one', inMs: 500, unwanted: 'first' }));
  await say(read());
  await say(keep({ id: 'a', record: 'overwritten', inMs: 500, unwanted: 'later' }));
  await say(read());
  await say(keep({ id: 'c', record: 'no room', inMs: 3000, most: 2 }));
  await say(keep({ id: 'b', record: 'room', inMs: 3000, most: 2 }));
  await say(keep({ id: 'long', record: 'x'.repeat(2000), inMs: 9000 }));
  await say(read());
  await say(keep({ id: 'long', record: 'short', inMs: 500 }));
  await say(keep({ id: 'long', record: 'x'.repeat(2000), inMs: 9000 }));
  await say(keep({ id: 'n'.repeat(2000), record: 'with a long name', inMs: 9000 }));
  await say(read(NOW, 0, 1));
  await say(read(NOW, 1, 1));
  // The expired one is forgotten, and makes room.
  await say(read(NOW + 600));
  await say(keep({ id: 'd', record: 'last', inMs: 4000, nowMs: NOW + 600, most: 3 }));
  await say(read(NOW + 600));
  return all;
}

async function connect(t: TestContext, kind: StoreKind) {
  const store = await startStore(t, { programs: findStore(kind) });
  const server = { kind: 'standalone', node: { host: '127.0.0.1', port: store.port } } as const;
  const connection = await connectStore({ ...SHARED, server }, () => {});
  t.after(connection.destroy);
  return { ask: store.ask, connection };
}

for (const kind of STORE_KINDS) {
  test(`${kind}: the scripts of records do what the memory store of the unit tests does`, async (t) => {
    const { ask, connection } = await connect(t, kind);
    const { keep, read } = using(connection);
    const memory = await createMemoryStore().connect(SHARED, () => {});
    assert.deepEqual(await replies(connection), await replies(memory));
    for (const key of KEYS) assert.ok(Number(await ask('PTTL', key)) > 50_000, key);
    assert.equal(await ask('ZCARD', KEYS[0] ?? ''), await ask('HLEN', KEYS[1] ?? ''));

    await Promise.all(
      Array.from({ length: 1200 }, (_, i) => keep({ id: `id ${i}`, record: 'many', inMs: 10_000 + i, most: 5000 })),
    );
    const pages = await Promise.all([0, 500, 1000].map((offset) => read(NOW, offset)));
    const ids = pages.flatMap((page) => (page as string[]).filter((text) => text.startsWith('id ')));
    assert.equal(new Set(ids).size, 1200);
  });

  test(`${kind}: keys of records that hold another type are replaced`, async (t) => {
    const { ask, connection } = await connect(t, kind);
    const { keep, read } = using(connection);
    for (const key of KEYS) {
      for (const again of [read, () => keep({ id: 'b', record: 'second', inMs: 2000 })]) {
        assert.equal(await keep({ id: 'a', record: 'first', inMs: 1000 }), 1);
        await ask('SET', key, 'text', 'PX', '1000000');
        await again();
        assert.equal(await keep({ id: 'c', record: 'third', inMs: 3000 }), 1);
        const page = (await read()) as string[];
        assert.deepEqual([page[1], page.includes('first')], ['c', false], key);
      }
    }
  });
}
