import type { Route } from '../config/route.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import type { Outcome } from '../observability/proxy-observer.ts';
import type { CacheResult } from '../observability/token-observer.ts';
import type { Granted } from '../tokens/audience.ts';
import type { RequestRecord, ResponseStart } from './request-record.ts';

/** The facts about a request that no caller chose. */
export type Decision = Readonly<Slot>;

/** Number of requests that are remembered. A power of two. */
export const REMEMBERED_DECISIONS = 1024;

/**
 * A place for one decision. It is filled again and again with numbers and with references to old objects, so that a request neither
 * allocates memory for it nor gives the garbage collector work. Numbers that will have a fraction start with one, so that V8 stores them in place.
 */
class Slot {
  /** Consecutive numbers from 1. */
  number = 0;
  /** Monotonic milliseconds at the beginning of the response. */
  atMs = 0.5;
  route: Route | undefined;
  agent: string | undefined;
  team: string | undefined;
  status = 0;
  outcome: Outcome = 'cancelled';
  durationMs = 0.5;
  error: ErrorCode | undefined;
  cacheResult: CacheResult | undefined;
  exchangeMs: number | undefined;
  stepUp: readonly string[] | undefined;
  /** Audience and scope of the token that was sent, or refused for its audience. */
  granted: Granted | undefined;
}

/** The last decisions, which show what just happened. Written for every request. */
export class RecentDecisions {
  readonly #slots: readonly Slot[] = Array.from({ length: REMEMBERED_DECISIONS }, () => new Slot());
  last = 0;

  note(record: RequestRecord, { status, outcome, durationMs }: ResponseStart, atMs: number): void {
    this.last += 1;
    const slot = this.#slots[this.last & (REMEMBERED_DECISIONS - 1)] as Slot;
    slot.number = this.last;
    slot.atMs = atMs;
    slot.route = record.route;
    slot.agent = record.agent;
    slot.team = record.team;
    slot.status = status;
    slot.outcome = outcome;
    slot.durationMs = durationMs;
    slot.error = record.error?.code;
    slot.cacheResult = record.cacheResult;
    slot.exchangeMs = record.exchangeMs;
    slot.stepUp = record.stepUp;
    slot.granted = record.token?.granted ?? grantedInVain(record);
  }

  /** The remembered decisions after a number, the earliest first. */
  after(number: number): Decision[] {
    return this.#slots.filter((slot) => slot.number > number).sort((one, other) => one.number - other.number);
  }
}

function grantedInVain({ error }: RequestRecord): Granted | undefined {
  return error?.issuedAudience && { audience: error.issuedAudience, scope: undefined };
}
