import type { Clock } from '../clock/clock.ts';
import { add, expect, type Tally } from '../observability/counters.ts';
import type { Logger } from '../observability/logger.ts';
import { counter, type MetricFamily, samplesOf } from '../observability/metric-families.ts';
import type { SharedMessages } from '../shared-cache/messages.ts';
import type { RevocationEntry } from '../tokens/revocation-list.ts';
import { type OpenQuestion, openQuestion, type Reply } from './open-question.ts';
import type { KnownRevocations } from './read-kept.ts';
import { idOf, MAX_QUESTIONS, newId, type Question, readQuestion, readReply } from './replica-wire.ts';
import { digestsOf, partOf, partsOf } from './revocation-parts.ts';

/** `alone`: no other replica knows anything. `no_reply`: none replied in time. `failed`: the reply may be lost. */
export type Outcome = (typeof OUTCOMES)[number];
const OUTCOMES = ['replied', 'alone', 'no_reply', 'failed'] as const;

/** How much depends on a reply. */
export interface Doubts {
  /** False where other replicas may just have lost their connection. */
  readonly trustsAlone: boolean;
  /** The store is full: without a reply, all older tokens are refused. So the wait is as long as for a replica that received the question. */
  readonly isFull: boolean;
}

/** Asks the running replicas for the revocations that this one may have missed. */
export interface Asker {
  /**
   * Asks until there is a reply, which has everything that a running replica knows, whatever the records at the server are.
   */
  ask(doubts: Doubts): Promise<Outcome>;
  /** Ends the question, because its reply may be lost. */
  cancel(): void;
  /** Another replica asks. */
  asked(payload: unknown): void;
  /** Learns what a replica replies to any other one. */
  replied(payload: unknown): void;
  readonly isAsking: boolean;
  readonly family: MetricFamily;
}

export interface AskerOptions {
  readonly messages: Pick<SharedMessages, 'ask'>;
  readonly known: () => KnownRevocations;
  /** Tells other replicas what a reply lacks. */
  readonly tell: (entry: RevocationEntry) => void;
  /** Has this replica nothing to tell others? */
  readonly isStarting: () => boolean;
  /** Questions of other replicas. Only a replica that received a question can know its id. */
  readonly heard: () => readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
  /** How long other replicas may take to connect and to reply. */
  readonly graceMs: number;
  readonly askAgainMs?: number | undefined;
}

export const GRACE_MS = 4000;
/** The replica that began to reply may have died. */
const ASK_AGAIN_MS = 1000;
/** A busy replica that received the question gets more time. */
const HEARD_FACTOR = 3;
/** A replica waits no longer for a reply. */
export const MAX_WAIT_MS = HEARD_FACTOR * GRACE_MS;

export function createAsker(options: AskerOptions): Asker {
  const { messages, known, tell, isStarting, heard, clock, logger, graceMs, askAgainMs = ASK_AGAIN_MS } = options;
  const self = newId();
  const outcomes: Tally<Outcome> = expect({}, OUTCOMES);
  let open: OpenQuestion | undefined;
  let learned = 0;
  let isCancelled = false;
  let isAsking = false;

  async function askUntilReply(question: OpenQuestion, isFull: boolean): Promise<Outcome> {
    const patience = createPatience(clock, graceMs, isFull);
    while (!isCancelled) {
      const digests = await digestsOf(partsOf(known().list()));
      const id = newId();
      const earlier = question.ids.slice(-MAX_QUESTIONS);
      // Before it is sent, because the reply may be here before the server has confirmed it.
      question.repeat(id);
      const asked: Question = { id, earlier, digests, starting: isStarting() ? self : undefined, heard: heard() };
      const delivery = await messages.ask('revocations_asked', asked);
      if (delivery === undefined || isCancelled) return 'failed';
      const end = await question.wait(Math.min(askAgainMs, patience.leftMs()), delivery.others);
      if (end === 'alone') return end;
      if (end !== 'no_reply') {
        for (const entry of missingIn(end.reply, known().list())) tell(entry);
        return 'replied';
      }
      if (patience.isOver(question.isHeard)) return isCancelled ? 'failed' : 'no_reply';
    }
    return 'failed';
  }

  return {
    async ask({ trustsAlone, isFull }) {
      isAsking = true;
      isCancelled = false;
      learned = 0;
      try {
        open = openQuestion(trustsAlone);
        const outcome = await askUntilReply(open, isFull);
        add(outcomes, outcome);
        if (learned > 0) logger.info({}, `revocations that were missing here came from a running replica: ${learned}`);
        return outcome;
      } finally {
        isAsking = false;
        open?.cancel();
        open = undefined;
      }
    },
    cancel() {
      isCancelled = true;
      open?.cancel();
    },
    asked(payload) {
      const { starting, heard = [] } = readQuestion(payload) ?? {};
      if (starting !== undefined) open?.hear(starting, heard);
    },
    replied(payload) {
      const message = readReply(payload);
      if (message === undefined) return;
      learned += known().restore(message.entries);
      open?.take(message);
    },
    get isAsking() {
      return isAsking;
    },
    family: counter(
      'cambist_revocations_asked_total',
      'How often this replica asked the others for revocations that it may have missed, by result.',
      () => samplesOf(outcomes, (result) => ({ result })),
    ),
  };
}

/** How long a replica waits for a reply. */
function createPatience(clock: Clock, graceMs: number, isFull: boolean) {
  const untilMs = clock.monotonicMs() + graceMs;
  let wasHeard = false;
  return {
    /** Until the grace has passed, and a whole grace after that. */
    leftMs(): number {
      const leftMs = untilMs - clock.monotonicMs();
      return leftMs > 0 ? leftMs : graceMs;
    },
    /** @param isHeard whether a running replica received the question. Undefined: as before */
    isOver(isHeard: boolean | undefined): boolean {
      wasHeard = isHeard ?? wasHeard;
      return clock.monotonicMs() >= untilMs + (wasHeard || isFull ? HEARD_FACTOR - 1 : 0) * graceMs;
    },
  };
}

/** The replica that replied may have missed what this one knows. */
function missingIn({ parts, known: replied }: Reply, list: readonly RevocationEntry[]): RevocationEntry[] {
  if (parts.size === 0) return [];
  return list.filter((entry) => {
    const isKnown = (replied.get(idOf(entry)) ?? Number.NEGATIVE_INFINITY) >= entry.atMs;
    return !isKnown && parts.has(partOf(entry));
  });
}
