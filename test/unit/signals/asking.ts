import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { startReplica } from '../shared-cache/replica.ts';
import { ready, start } from './joined-replica.ts';

/** Longer than any test. A replica that is ready earlier got a reply, or is alone. It replies to no other one meanwhile. */
export const LONG = { graceMs: 3_600_000, random: () => 40 };
export const SOON = { ...LONG, askAgainMs: 100 };

/** A store that says that it has everything. */
export async function seeded(t: TestContext): Promise<MemoryStore> {
  const server = createMemoryStore();
  const { records, store } = await startReplica(t, server);
  await records.seed(Date.now() + 3_600_000);
  store.close();
  return server;
}

/** Two running replicas, which know that alice is revoked. The first one replies at once. */
export async function startTwo(t: TestContext, { otherMs = 10_000 } = {}) {
  const server = await seeded(t);
  const one = await start(t, server, {}, { ...LONG, random: () => 0 });
  await ready(one);
  const other = await start(t, server, {}, { ...LONG, random: () => otherMs / 250 });
  await ready(other);
  one.revoke('alice');
  await one.link.settled();
  return { server, one, other };
}

/** Listens on the channel. */
export async function bystander(t: TestContext, server: MemoryStore) {
  const { messages } = await startReplica(t, server);
  const replies: { id: string; to: readonly string[]; index: number }[] = [];
  messages.on('revocations_replied', (payload) => replies.push(payload as (typeof replies)[number]));
  return { replies, messages };
}

/** No question has two replies. A reply may have been replayed. */
export function assertRepliedOnce(replies: readonly { id: string; to: readonly string[] }[]): void {
  const byId = new Map(replies.map(({ id, to }) => [id, to]));
  const questions = [...byId.values()].flat();
  assert.ok(questions.length > 0);
  assert.equal(new Set(questions).size, questions.length);
}
