import type { Route } from '../config/config.ts';
import type { ErrorCode } from '../errors.ts';

/** nginx's status for a caller who went away before there was an answer. */
export const CALLER_GONE = 499;

/** How a request was answered, seen from the caller. */
export type Outcome =
  /** The upstream's answer was relayed, whatever its status. */
  | 'forwarded'
  /** cambist answered by itself, and no problem: metadata of a resource. */
  | 'answered'
  /** cambist answered 4xx: the caller's part. */
  | 'refused'
  /** cambist answered 5xx: ours, the authorization server's, or the backend's part. */
  | 'failed'
  /** The caller went away before an answer. */
  | 'cancelled';

/** Who ended an answer that had begun and was not whole, or a request that had none yet. */
export type AbortedBy = (typeof ABORTED_BY)[number];
/** `stall`: no byte moved for `timeouts.stall`. `shutdown`: cambist, as it shuts down. */
export const ABORTED_BY = ['upstream', 'caller', 'stall', 'shutdown'] as const;

/** Why a request is sent upstream again. */
export type RetryReason =
  /** With another token, or another proof for it: the upstream refused what came first. */
  | 'token'
  /** By another connection: over HTTP/2, the upstream said that it has done nothing with it. */
  | 'unprocessed';

/** The head of an answer, as it is counted. */
export interface RequestAnswer {
  readonly method: string;
  /** HTTP status; 499 where the caller went away before there was one. */
  readonly status: number;
  readonly outcome: Outcome;
  /** Undefined where cambist did not answer with an error of its own. */
  readonly error: ErrorCode | undefined;
  /** From the request's arrival to the answer's head. */
  readonly durationMs: number;
}

/** What this room tells whoever counts. */
export interface ProxyObserver {
  requestRouted(route: Route): void;
  /** `route` is undefined where none matched. */
  requestAnswered(route: Route | undefined, answer: RequestAnswer): void;
  requestEnded(route: Route): void;
  requestAborted(route: Route, by: AbortedBy): void;
  streamOpened(route: Route): void;
  streamClosed(route: Route): void;
  upstreamRetried(route: Route, reason: RetryReason): void;
  /** @param authority as the config has it */
  tunnelOpened(authority: string): void;
  tunnelClosed(authority: string): void;
}
