import { idOf, type ReplyMessage } from './replica-wire.ts';

/** A complete reply of a running replica. */
export interface Reply {
  /** The parts of the list that it has in full. */
  readonly parts: ReadonlySet<number>;
  /** Its revocations of these parts: epoch milliseconds by identity. */
  readonly known: ReadonlyMap<string, number>;
}

/** `alone`: the others that received the question are starting as well, so nothing is to be learned from them. */
export type End = { readonly reply: Reply } | 'alone' | 'no_reply';

/**
 * A question that waits for its reply. It is repeated with a new id each time. A reply to any of them counts, because a busy
 * replica may reply to an earlier one. All ids are random, so that no reply from before the question belongs to one.
 */
export interface OpenQuestion {
  /** Ids of this question so far, the latest last. */
  readonly ids: readonly string[];
  /** Adds an id, under which the question is sent next. */
  repeat(id: string): void;
  /** Takes one message of a reply. */
  take(message: ReplyMessage): void;
  /** Another replica has just started. @param replica its name @param heard questions that it received */
  hear(replica: string, heard: readonly string[]): void;
  /**
   * Waits for the first complete reply. Ends without one when nothing new arrives for this long.
   * @param others replicas that received the latest id, as the server says
   */
  wait(quietMs: number, others: number | undefined): Promise<End>;
  /** Does the server say that a replica received the latest id that has not just started? Undefined if it does not say. */
  readonly isHeard: boolean | undefined;
  cancel(): void;
}

/** Most replicas that reply at the same time. More are ignored. */
const MAX_REPLIES = 16;

interface Draft {
  readonly received: Set<number>;
  readonly parts: Set<number>;
  readonly known: Map<string, number>;
  /** Did a message arrive since the question was repeated? Otherwise its replica may have died. */
  isActive: boolean;
}

/** @param trustsAlone ends the question where the server says that no other replica can reply */
export function openQuestion(trustsAlone: boolean): OpenQuestion {
  const ids: string[] = [];
  const drafts = new Map<string, Draft>();
  /** Replicas that received the latest id. Those of an earlier one may have stopped, so they do not count. */
  const starting = new Set<string>();
  let others: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let quietMs: number | undefined;
  let ended: End | undefined;
  let settle: (end: End) => void = () => {};

  /** Ends the wait. @param how undefined: until the question is repeated */
  function end(how: End | undefined): void {
    clearTimeout(timer);
    quietMs = undefined;
    ended ??= how;
    settle(ended ?? 'no_reply');
  }

  function restart(): void {
    clearTimeout(timer);
    if (quietMs !== undefined) timer = setTimeout(() => end(undefined), quietMs);
  }

  function endIfAlone(): void {
    const isWaiting = quietMs !== undefined;
    if (trustsAlone && isWaiting && others !== undefined && starting.size >= others) end('alone');
  }

  function draftOf(from: string): Draft | undefined {
    if (!drafts.has(from) && makesRoom()) {
      drafts.set(from, { received: new Set(), parts: new Set(), known: new Map(), isActive: true });
    }
    return drafts.get(from);
  }

  function makesRoom(): boolean {
    if (drafts.size < MAX_REPLIES) return true;
    const [idle] = [...drafts].find(([, { isActive }]) => !isActive) ?? [];
    return idle !== undefined && drafts.delete(idle);
  }

  return {
    ids,
    repeat(id) {
      ids.push(id);
      starting.clear();
      others = undefined;
      for (const draft of drafts.values()) draft.isActive = false;
    },
    take({ id: from, to, index, count, parts, entries }) {
      if (!to.some((id) => ids.includes(id))) return;
      const draft = draftOf(from);
      // A replayed message changes nothing.
      if (draft === undefined || draft.received.has(index)) return;
      draft.isActive = true;
      draft.received.add(index);
      for (const part of parts) draft.parts.add(part);
      for (const entry of entries) draft.known.set(idOf(entry), entry.atMs);
      if (draft.received.size >= count) end({ reply: draft });
      else restart();
    },
    hear(replica, heard) {
      if (!heard.includes(ids.at(-1) ?? '')) return;
      starting.add(replica);
      endIfAlone();
    },
    wait(ms, count) {
      if (ended !== undefined) return Promise.resolve(ended);
      const waiting = new Promise<End>((resolve) => {
        settle = resolve;
      });
      quietMs = ms;
      others = count;
      restart();
      endIfAlone();
      return waiting;
    },
    get isHeard() {
      return others === undefined ? undefined : starting.size < others;
    },
    cancel: () => end('no_reply'),
  };
}
