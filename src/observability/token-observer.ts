import type { TokenTarget } from '../config/route.ts';
import type { CambistError } from '../errors.ts';
import type { Secret } from '../secrets/secret.ts';
import type { Span } from './tracing.ts';

/** Result of a cache lookup. `shared`: another replica had the token. `bypass` on a route that needs no token. */
export type CacheResult = (typeof CACHE_RESULTS)[number];
export const CACHE_RESULTS = ['hit', 'shared', 'miss', 'joined', 'negative', 'bypass'] as const;

/**
 * Why a token left the cache: the cache was full; the token expired; the upstream refused it, or the authorization server its
 * refresh; its session closed; it was unused for an hour; the caller's token was revoked.
 */
export type EvictionReason = (typeof EVICTION_REASONS)[number];
export const EVICTION_REASONS = ['capacity', 'expired', 'refused', 'session_ended', 'idle', 'revoked'] as const;

/** `refused`: the token is inactive, or breaks the rules of `verify`. `failure`: the server gave no usable response. */
export type IntrospectionResult = (typeof INTROSPECTION_RESULTS)[number];
export const INTROSPECTION_RESULTS = ['active', 'refused', 'failure'] as const;

/** The request that an exchange was made for. The issued token does not depend on it. */
export interface Cause {
  /** Address of the client. Undefined on a Unix socket. */
  readonly peer: string | undefined;
  readonly requestId: string;
  readonly traceId: string | undefined;
  readonly span: Span | undefined;
}

export interface ExchangeOutcome {
  readonly route: string;
  readonly authorizationServer: string;
  /** `client_credentials` if the token is for cambist itself. */
  readonly grant?: 'token_exchange' | 'jwt_bearer' | 'token_vault' | 'client_credentials';
  /** This replaces a token that is still valid. */
  readonly refresh: boolean;
  readonly cause?: Cause | undefined;
  readonly error: CambistError | undefined;
  /** The token is also valid at audiences that the route does not expect. */
  readonly isForOthers?: boolean;
  readonly durationMs: number;
  readonly target?: TokenTarget;
  readonly subject?: ExchangedSubject | undefined;
  /** `subject_token.verify` of the route has checked the subject token. */
  readonly isSubjectVerified?: boolean;
  /** Claims of the actor token, unless it is opaque. */
  readonly actor?: TokenClaims | undefined;
  /** Claims of the issued token. Undefined if none was issued, or it is opaque. */
  readonly issued?: TokenClaims | undefined;
}

export type TokenClaims = Readonly<Record<string, unknown>>;

interface ExchangedSubject {
  readonly token: Secret;
  readonly digest: string;
  /** Claims that its authorization server stated. */
  readonly introspected: TokenClaims | undefined;
}

export interface TokenObserver {
  cacheLookedUp(route: string, result: CacheResult): void;
  exchangeFinished(outcome: ExchangeOutcome): void;
  tokenEvicted(reason: EvictionReason): void;
  /** An authorization server is considered down, or responded again. */
  availabilityChanged(authorizationServer: string, available: boolean): void;
  introspected(authorizationServer: string, result: IntrospectionResult): void;
  /** One of our credentials was read, and states its expiry in epoch seconds. */
  credentialRead(credential: string, expiresAtSeconds: number): void;
}
