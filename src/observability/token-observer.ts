import type { CambistError } from '../errors.ts';
import type { Span } from './tracing.ts';

/** How the cache answered a request; `bypass` where the route needs no token. */
export type CacheResult = 'hit' | 'miss' | 'joined' | 'negative' | 'bypass';
export const CACHE_RESULTS: readonly CacheResult[] = ['hit', 'miss', 'joined', 'negative', 'bypass'];

/**
 * Why a token left the cache: the bound was reached; its time was up; an upstream refused it, or the authorization server its
 * refresh; its session ended; nobody asked for it for an hour.
 */
export type EvictionReason = 'capacity' | 'expired' | 'refused' | 'session_ended' | 'idle';
export const EVICTION_REASONS: readonly EvictionReason[] = ['capacity', 'expired', 'refused', 'session_ended', 'idle'];

/** The request that a token is wanted for. The token does not depend on it. */
export interface Cause {
  /** Address that the request came from; undefined where there is none, as on a Unix socket. */
  readonly peer: string | undefined;
  readonly requestId: string;
  readonly traceId: string | undefined;
  /** Undefined where tracing is off. */
  readonly span: Span | undefined;
}

/** One request to a token endpoint, as it ended. */
export interface ExchangeOutcome {
  readonly route: string;
  readonly authorizationServer: string;
  /** Was it asked for ahead, while the one before was still good? */
  readonly refresh: boolean;
  readonly cause?: Cause | undefined;
  /** Undefined: a token came back. */
  readonly error: CambistError | undefined;
  /** The token is also valid at audiences that the route does not expect. */
  readonly isForOthers?: boolean;
  readonly durationMs: number;
}

/** What this room tells whoever counts or writes. */
export interface TokenObserver {
  cacheAnswered(route: string, result: CacheResult): void;
  exchangeEnded(outcome: ExchangeOutcome): void;
  tokenEvicted(reason: EvictionReason): void;
  /** An authorization server is taken to be down, or has answered again. */
  availabilityChanged(authorizationServer: string, available: boolean): void;
  /** A credential of ours says when it ends, in epoch seconds. */
  credentialRead(credential: string, expiresAtSeconds: number): void;
}
