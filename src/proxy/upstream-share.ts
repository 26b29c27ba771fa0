import type { Config } from '../config/config.ts';
import { CambistError } from '../errors.ts';

export interface UpstreamShare {
  inFlight: number;
}

/** Counts the requests in flight to each backend, so that one that hangs cannot use up `limits.max_in_flight`. */
export class UpstreamShares {
  readonly #shares = new Map<string, UpstreamShare>();

  /** Counts a request; `inFlight` must be decremented when it ends. @param upstream an origin, or the authority of a tunnel */
  join(upstream: string): UpstreamShare {
    let share = this.#shares.get(upstream);
    if (share === undefined) {
      share = { inFlight: 0 };
      this.#shares.set(upstream, share);
    }
    share.inFlight += 1;
    return share;
  }

  /** Frees the entry of a tunnel's authority, which an agent chose, once no request is in flight. */
  forget(authority: string): void {
    if (this.#shares.get(authority)?.inFlight === 0) this.#shares.delete(authority);
  }
}

/**
 * @param from what the error names, as in `route "github"`
 * @throws {CambistError} ERR_OVERLOADED
 */
export function assertShare(share: UpstreamShare, { maxInFlightPerUpstream }: Config['limits'], from: string): void {
  if (share.inFlight <= maxInFlightPerUpstream) return;
  throw new CambistError(
    'ERR_OVERLOADED',
    `${from}: the backend has as many requests in flight as limits.max_in_flight_per_upstream allows: ` +
      'find out why it is slow, or raise the limit',
  );
}
