import type { ErrorCode } from '../errors.ts';

/** How the cache answered a request; `bypass` where the route needs no token. */
export type CacheResult = 'hit' | 'miss' | 'joined' | 'negative' | 'bypass';
export const CACHE_RESULTS: readonly CacheResult[] = ['hit', 'miss', 'joined', 'negative', 'bypass'];

/** Why a token left the cache before anybody asked for it again. */
export type EvictionReason = 'capacity' | 'expired' | 'refused';
export const EVICTION_REASONS: readonly EvictionReason[] = ['capacity', 'expired', 'refused'];

/** One request to a token endpoint, as it ended. */
export interface ExchangeOutcome {
  readonly route: string;
  readonly authorizationServer: string;
  /** Undefined: a token came back. */
  readonly error: ErrorCode | undefined;
  readonly durationMs: number;
}

/** What this room tells whoever counts. */
export interface TokenObserver {
  cacheAnswered(route: string, result: CacheResult): void;
  exchangeEnded(outcome: ExchangeOutcome): void;
  tokenEvicted(reason: EvictionReason): void;
  /** A credential of ours says when it ends, in epoch seconds. */
  credentialRead(credential: string, expiresAtSeconds: number): void;
}
