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

/** A question that waits for its reply. */
export interface OpenQuestion {
  readonly id: string;
  /** Takes one message of a reply to this question. */
  take(message: ReplyMessage): void;
  /** Another replica that received this question has just started. @param replica its name */
  hear(replica: string): void;
  /**
   * From now on, the question ends when nothing new arrives for this long.
   * @param others replicas that received it, as the server says
   */
  waitFor(quietMs: number, others: number | undefined): void;
  /** Does the server say that a replica received it that has not just started? */
  readonly isHeard: boolean;
  cancel(): void;
  /** Settles with the first complete reply, or without one. */
  readonly ended: Promise<End>;
}

/** Most replicas that reply to one question. More are ignored. */
const MAX_REPLIES = 16;

interface Draft {
  readonly received: Set<number>;
  readonly parts: Set<number>;
  readonly known: Map<string, number>;
}

/** @param trustsAlone ends the question where the server says that no other replica can reply */
export function openQuestion(id: string, trustsAlone: boolean): OpenQuestion {
  const drafts = new Map<string, Draft>();
  let timer: NodeJS.Timeout | undefined;
  let quietMs: number | undefined;
  let others: number | undefined;
  const starting = new Set<string>();
  let settle: (end: End) => void = () => {};
  const ended = new Promise<End>((resolve) => {
    settle = resolve;
  });

  function end(how: End): void {
    clearTimeout(timer);
    quietMs = undefined;
    settle(how);
  }

  function restart(): void {
    clearTimeout(timer);
    if (quietMs !== undefined) timer = setTimeout(() => end('no_reply'), quietMs);
  }

  function endIfAlone(): void {
    if (trustsAlone && others !== undefined && starting.size >= others) end('alone');
  }

  function draftOf(from: string): Draft | undefined {
    const draft = drafts.get(from) ?? { received: new Set(), parts: new Set(), known: new Map() };
    if (drafts.size < MAX_REPLIES) drafts.set(from, draft);
    return drafts.get(from);
  }

  return {
    id,
    ended,
    take({ id: from, index, count, parts, entries }) {
      const draft = draftOf(from);
      // A replayed message changes nothing.
      if (draft === undefined || draft.received.has(index)) return;
      draft.received.add(index);
      for (const part of parts) draft.parts.add(part);
      for (const entry of entries) draft.known.set(idOf(entry), entry.atMs);
      if (draft.received.size >= count) end({ reply: draft });
      else restart();
    },
    hear(replica) {
      starting.add(replica);
      endIfAlone();
    },
    waitFor(ms, count) {
      quietMs = ms;
      others = count;
      restart();
      endIfAlone();
    },
    get isHeard() {
      return others !== undefined && starting.size < others;
    },
    cancel: () => end('no_reply'),
  };
}
