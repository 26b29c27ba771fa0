import type { CambistError } from '../errors.ts';

/** How the cache answered a request; `bypass` where the route needs no token. */
export type CacheResult = 'hit' | 'miss' | 'joined' | 'negative' | 'bypass';
export const CACHE_RESULTS: readonly CacheResult[] = ['hit', 'miss', 'joined', 'negative', 'bypass'];

/**
 * Why a token left the cache: the bound was reached; its time was up; an upstream refused it, or the authorization server its
 * refresh; its session ended; nobody asked for it for an hour.
 */
export type EvictionReason = 'capacity' | 'expired' | 'refused' | 'session_ended' | 'idle';
export const EVICTION_REASONS: readonly EvictionReason[] = ['capacity', 'expired', 'refused', 'session_ended', 'idle'];

/** One request to a token endpoint, as it ended. */
export interface ExchangeOutcome {
  readonly route: string;
  readonly authorizationServer: string;
  /** Was it asked for ahead, while the one before was still good? */
  readonly refresh: boolean;
  /** Undefined: a token came back. */
  readonly error: CambistError | undefined;
  readonly durationMs: number;
}

/** What this room tells whoever counts or writes. */
export interface TokenObserver {
  cacheAnswered(route: string, result: CacheResult): void;
  exchangeEnded(outcome: ExchangeOutcome): void;
  tokenEvicted(reason: EvictionReason): void;
  /** A credential of ours says when it ends, in epoch seconds. */
  credentialRead(credential: string, expiresAtSeconds: number): void;
}
