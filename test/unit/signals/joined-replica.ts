import type { TestContext } from 'node:test';
import { type Clock, systemClock } from '../../../src/clock/clock.ts';
import { createLogger } from '../../../src/observability/logger.ts';
import type { StoreKeyList } from '../../../src/shared-cache/seal.ts';
import type { SharedRecords } from '../../../src/shared-cache/shared-records.ts';
import { createReplicas } from '../../../src/signals/replicas.ts';
import { createRevocations } from '../../../src/tokens/revocations.ts';
import { toSubject } from '../../../src/tokens/subject.ts';
import { eventually } from '../../harness/eventually.ts';
import { createMemoryStore, type MemoryStore } from '../../harness/memory-store.ts';
import { startReplica } from '../shared-cache/replica.ts';
import { jwtOf } from '../tokens/sample.ts';

export const ISSUER = 'https://idp.example.com';
const DAY = 24 * 3_600_000;

interface JoinOptions {
  readonly waitMs?: number;
  readonly clock?: Clock;
  readonly keys?: StoreKeyList;
  readonly random?: () => number;
}

export async function start(
  t: TestContext,
  server: MemoryStore,
  change: Partial<SharedRecords> = {},
  { waitMs = 0, clock = systemClock, keys, random = Math.random }: JoinOptions = {},
) {
  const { messages, records, store } = await startReplica(t, server, { clock, ...(keys && { keys }) });
  const lines: string[] = [];
  const link = createReplicas({
    shared: {
      messages,
      records: { ...records, ...change },
      status: () => ({ available: store.state.isAvailable, since: '' }),
    },
    clock,
    logger: createLogger('info', { write: (line: string) => void lines.push(JSON.parse(line).msg) }),
    rememberMs: DAY,
    issuers: () => [ISSUER],
    waitMs,
    random,
  });
  t.after(link.close);
  const revocations = createRevocations({
    clock,
    rememberMs: DAY,
    onAdded: link.publish,
    isComplete: () => link.isComplete,
  });
  link.join(revocations);
  return {
    link,
    lines,
    messages,
    store,
    revocations,
    /** Revokes tokens of these subjects, and waits until other replicas know. */
    revoke(...subs: string[]) {
      for (const value of subs) {
        revocations.revoke({ issuer: ISSUER, subject: { claim: 'sub', value }, session: undefined, atMs: Date.now() });
      }
      return link.settled();
    },
    knows: (sub: string) => revocations.isRevoked(tokenOf(sub)),
    metric: (name: string) =>
      link.families
        .find((family) => family.name === name)
        ?.text()
        .split(' ')
        .at(-1),
  };
}

export function tokenOf(sub: string) {
  return toSubject(jwtOf({ iss: ISSUER, sub, iat: Math.floor(Date.now() / 1000) - 60 }));
}

export const ready = ({ link }: { link: { readonly isComplete: boolean } }) =>
  eventually('it has read', () => link.isComplete);

/** The same as `start`, after it has read. */
export async function startReady(...args: Parameters<typeof start>) {
  const replica = await start(...args);
  await ready(replica);
  return replica;
}

export async function startPair(t: TestContext) {
  const server = createMemoryStore();
  const [one, other] = await Promise.all([startReady(t, server), startReady(t, server)]);
  return { server, one, other };
}

/** Without the record that marks the store as complete. */
export const numberKept = (server: MemoryStore) =>
  [...server.records.values()].reduce((sum, { size }) => sum + size - 1, 0);
