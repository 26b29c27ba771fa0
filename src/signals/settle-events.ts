import { CambistError } from '../errors.ts';
import { InvalidSignal } from './events.ts';
import type { IsShared } from './publisher.ts';
import { type PolledSets, TransmitterError } from './transmitter-client.ts';

export interface EventSettlerOptions {
  readonly name: string;
  /**
   * Applies an event.
   * @returns whether the shared cache has it
   * @throws {InvalidSignal} for an event that the transmitter should not send again; any other error: it should
   */
  readonly take: (token: string) => Promise<IsShared>;
}

/** Number of attempts for an event by an unknown key, or with which cambist fails. Its key may be new, or the failure may pass. */
const MAX_ATTEMPTS = 3;
/** Most events that stay at the transmitter. More would fill its responses, and new events would not arrive. */
export const MAX_HELD = 40;

interface Settled {
  readonly ack: string[];
  /** The key is the `jti` of the event, which the transmitter chooses. */
  readonly setErrs: Map<string, { readonly err: string; readonly description: string }>;
}

/** The results of polled events, for the transmitter. */
export function createEventSettler({ name, take }: EventSettlerOptions) {
  let settled = nothingSettled();
  /** The events of the last response that were settled. */
  let previous: ReadonlySet<string> = new Set();
  let attempts = new Map<string, number>();
  /** The oldest first. The transmitter sends them to another replica if this process exits. */
  const held = new Map<string, IsShared>();

  function hold(jti: string, isShared: IsShared): void {
    const [oldest] = held.keys();
    if (oldest !== undefined && held.size >= MAX_HELD) {
      held.delete(oldest);
      settled.ack.push(oldest);
    }
    held.set(jti, isShared);
  }

  return {
    /** The results for the next request. They stay until `delivered`. */
    results(): object {
      for (const [jti, isShared] of held) {
        if (!isShared()) continue;
        held.delete(jti);
        settled.ack.push(jti);
      }
      return bodyOf(settled);
    },
    delivered(): void {
      settled = nothingSettled();
    },
    /**
     * Applies events.
     * @returns whether one of them is new
     * @throws {TransmitterError} `keys`, after all events, for the first error that is not the event's fault
     */
    async settle(sets: PolledSets): Promise<boolean> {
      const { ack, setErrs } = settled;
      const untaken = sets.filter(([jti]) => !held.has(jti));
      const isNew = sets.some(([jti]) => !previous.has(jti) && !held.has(jti));
      const tried = new Map<string, number>();
      let failure: { readonly error: unknown } | undefined;
      // The events run at once, so that none waits until the shared cache has the previous one.
      const results = await Promise.allSettled(untaken.map(([, token]) => take(token)));
      for (const [at, result] of results.entries()) {
        const [jti] = untaken[at] as (typeof untaken)[number];
        if (result.status === 'fulfilled') {
          if (result.value()) ack.push(jti);
          else hold(jti, result.value);
          continue;
        }
        const error: unknown = result.reason;
        const count = (attempts.get(jti) ?? 0) + 1;
        if (isFinal(error, count)) setErrs.set(jti, refusalOf(error));
        else {
          tried.set(jti, count);
          failure ??= { error };
        }
      }
      attempts = tried;
      previous = new Set([...ack, ...setErrs.keys()]);
      if (failure !== undefined) {
        const why = `transmitter "${name}": its events cannot be verified yet`;
        throw new TransmitterError('keys', why, { cause: failure.error });
      }
      return isNew;
    },
    /** Events that were applied here and stay at the transmitter. */
    get held() {
      return held.size;
    },
  };
}

function nothingSettled(): Settled {
  return { ack: [], setErrs: new Map() };
}

/** While keys or the shared cache are unavailable, an event is not at fault. */
function isFinal(error: unknown, attempts: number): boolean {
  if (error instanceof CambistError) return false;
  return (error instanceof InvalidSignal && error.err !== 'invalid_key') || attempts >= MAX_ATTEMPTS;
}

function refusalOf(error: unknown): { readonly err: string; readonly description: string } {
  return error instanceof InvalidSignal
    ? { err: error.err, description: error.message }
    : { err: 'invalid_request', description: 'it cannot be read' };
}

/** @see RFC 8936 section 2.1 */
function bodyOf({ ack, setErrs }: Settled): object {
  return { ...(ack.length > 0 && { ack }), ...(setErrs.size > 0 && { setErrs: Object.fromEntries(setErrs) }) };
}
