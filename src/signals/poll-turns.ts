import { LRUCache } from 'lru-cache';
import type { Clock } from '../clock/clock.ts';
import type { SharedMessages } from '../shared-cache/messages.ts';
import { CLOCK_SKEW_MS } from '../tokens/restored-token.ts';
import { newId } from './replica-wire.ts';

/** Replicas that poll the same transmitter in turn, so that it gets as many polls as from one. */
export interface PollTurns {
  /** Tells the other replicas that this one polls now. */
  announce(): void;
  /** How long this replica can still leave the polls to another one. 0: it polls now. */
  leftMs(): number;
}

export interface PollTurnsOptions {
  readonly messages: Pick<SharedMessages, 'publish' | 'on'>;
  /** Name of the transmitter. */
  readonly name: string;
  readonly intervalMs: number;
  readonly clock: Clock;
  readonly random: () => number;
}

/** Each replica polls at least this often, so that it notices a transmitter that it alone cannot reach. */
const MAX_LEFT_MS = 10_000;
/** How long a replica waits for the next poll of another one, in intervals. Random, so that one follows, and not all. */
const MIN_WAIT = 1.1;
const MAX_WAIT = 1.5;
/** Replicas whose last poll is remembered. */
const MAX_REPLICAS = 1000;

export function createPollTurns({ messages, name, intervalMs, clock, random }: PollTurnsOptions): PollTurns {
  const self = newId();
  /** The last poll of each replica, by the clock of that replica. An older or equal time is a replayed message. */
  const said = new LRUCache<string, number>({ max: MAX_REPLICAS });
  /** When this replica polls, if no other one does. Monotonic milliseconds. */
  let dueMs = 0;
  let polledMs = clock.monotonicMs();

  messages.on('polls', (payload) => {
    const [transmitter, replica, atMs] = Array.isArray(payload) ? (payload as unknown[]) : [];
    if (transmitter !== name || typeof replica !== 'string' || replica.length !== self.length) return;
    if (typeof atMs !== 'number' || Math.abs(clock.wallMs() - atMs) > CLOCK_SKEW_MS) return;
    if (atMs <= (said.get(replica) ?? Number.NEGATIVE_INFINITY)) return;
    said.set(replica, atMs);
    // The replica that polled last polls again first, unless it fails.
    dueMs = clock.monotonicMs() + intervalMs * (MIN_WAIT + random() * (MAX_WAIT - MIN_WAIT));
  });

  return {
    announce() {
      polledMs = clock.monotonicMs();
      void messages.publish('polls', [name, self, clock.wallMs()]);
    },
    leftMs() {
      const nowMs = clock.monotonicMs();
      return Math.max(0, Math.min(dueMs, polledMs + MAX_LEFT_MS) - nowMs);
    },
  };
}
