import { setImmediate } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { SharedMessages } from '../shared-cache/messages.ts';
import type { RevocationEntry } from '../tokens/revocation-list.ts';
import { MAX_WAIT_MS } from './ask-replicas.ts';
import type { KnownRevocations } from './read-kept.ts';
import { batchesOf, MAX_QUESTIONS, newId, readQuestion, readReply, writeReply } from './replica-wire.ts';
import { differingParts, digestsOf, partsOf } from './revocation-parts.ts';

/** Replies to replicas that may have missed revocations. Of many, few reply: the first one, and those that begin with it. */
export interface Replier {
  asked(payload: unknown): void;
  /** Another replica replies. */
  replied(payload: unknown): void;
  /** This replica can reply from now on. */
  begin(): void;
  /** Questions without a reply, the oldest first. */
  heard(): readonly string[];
  close(): void;
}

export interface ReplierOptions {
  readonly messages: Pick<SharedMessages, 'publish'>;
  readonly known: () => KnownRevocations;
  /** `late`: this replica may itself have missed some, so it replies where no other does. `never`: it knows nothing yet. */
  readonly replies: () => 'soon' | 'late' | 'never';
  readonly clock: Clock;
  readonly random: () => number;
}

/** Each replica waits for a random time up to this, and does not reply if another one does meanwhile. */
const SPREAD_MS = 250;
const LATE_MS = 500;
/** Bounds the work for replicas that start at the same time: a replica rests for twice as long as it replied. */
const REST_FACTOR = 2;
/** Waiting replicas ask again for longer than this, so no question is lost by the rest. */
const MAX_REST_MS = 1000;
/** Questions that are remembered, so that a replayed one causes no work. Messages count for a minute. */
const MAX_REMEMBERED = 4096;
/** Entries that are divided into messages at once. */
const SLICE = 2000;

interface Waiting {
  readonly digests: string;
  readonly askedMs: number;
}

export function createReplier({ messages, known, replies, clock, random }: ReplierOptions): Replier {
  /** The latest id of a question by each of its ids. */
  const latest = new LRUCache<string, string>({ max: MAX_REMEMBERED });
  /** Questions without a reply, by their latest id. */
  const waiting = new Map<string, Waiting>();
  let timer: NodeJS.Timeout | undefined;
  let isReplying = false;
  let restUntilMs = Number.NEGATIVE_INFINITY;
  let isClosed = false;

  /** Drops questions whose replicas do not wait any more. */
  function dropOld(nowMs: number): void {
    for (const [id, { askedMs }] of waiting) {
      if (nowMs - askedMs <= MAX_WAIT_MS) return;
      waiting.delete(id);
    }
  }

  function schedule(): void {
    const when = replies();
    if (timer !== undefined || isReplying || isClosed || waiting.size === 0 || when === 'never') return;
    const restMs = Math.max(0, restUntilMs - clock.monotonicMs());
    const delayMs = restMs + (when === 'late' ? LATE_MS : 0) + random() * SPREAD_MS;
    timer = setTimeout(() => void replyToWaiting(), delayMs).unref();
  }

  async function replyToWaiting(): Promise<void> {
    timer = undefined;
    isReplying = true;
    const startedMs = clock.monotonicMs();
    try {
      await reply(startedMs);
    } finally {
      isReplying = false;
      const endedMs = clock.monotonicMs();
      restUntilMs = endedMs + Math.min(MAX_REST_MS, (endedMs - startedMs) * REST_FACTOR);
      schedule();
    }
  }

  /** Another replica may have replied to some questions meanwhile, and others were repeated. */
  function stillWaiting(asked: readonly string[]): [string, Waiting][] {
    const ids = new Set(asked.map((id) => latest.get(id) ?? id));
    return [...waiting].filter(([id]) => ids.has(id)).slice(0, MAX_QUESTIONS);
  }

  async function reply(nowMs: number): Promise<void> {
    dropOld(nowMs);
    if (waiting.size === 0) return;
    // Only these: a replica that asks during the digests may have missed a revocation that came after the list was read.
    const asked = [...waiting.keys()];
    const lists = partsOf(known().list());
    const digests = await digestsOf(lists);
    const questions = stillWaiting(asked);
    if (questions.length === 0) return;
    const parts = [...new Set(questions.flatMap(([, each]) => differingParts(each.digests, digests)))];
    const batches = await divide(parts.flatMap((part) => lists[part] ?? []));
    const shared = { id: newId(), to: questions.map(([id]) => id), count: batches.length, parts };
    for (const id of shared.to) waiting.delete(id);
    for (const [index, entries] of batches.entries()) {
      if (!(await messages.publish('revocations_replied', writeReply({ ...shared, index, entries })))) return;
    }
  }

  return {
    asked(payload) {
      const question = readQuestion(payload);
      if (question === undefined || latest.has(question.id)) return;
      for (const id of question.earlier) {
        waiting.delete(id);
        latest.set(id, question.id);
      }
      latest.set(question.id, question.id);
      const askedMs = clock.monotonicMs();
      dropOld(askedMs);
      if (waiting.size >= MAX_REMEMBERED) return;
      waiting.set(question.id, { digests: question.digests, askedMs });
      schedule();
    },
    replied(payload) {
      for (const id of readReply(payload)?.to ?? []) waiting.delete(latest.get(id) ?? id);
    },
    begin: schedule,
    heard: () => [...waiting.keys()].slice(0, MAX_QUESTIONS),
    close() {
      isClosed = true;
      clearTimeout(timer);
    },
  };
}

/** At least one message, which may be empty. */
async function divide(entries: readonly RevocationEntry[]): Promise<readonly (readonly RevocationEntry[])[]> {
  const batches: RevocationEntry[][] = [];
  for (let at = 0; at < entries.length; at += SLICE) {
    if (at > 0) await setImmediate();
    batches.push(...batchesOf(entries.slice(at, at + SLICE)));
  }
  return batches.length === 0 ? [[]] : batches;
}
