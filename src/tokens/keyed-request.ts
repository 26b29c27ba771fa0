import type { Route, TokenCredential } from '../config/route.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
import type { Cause } from '../observability/token-observer.ts';
import { CACHED_ERRORS } from './second-level.ts';
import type { ResourceDigest, Session } from './session.ts';
import { withScopes } from './step-up.ts';

const UNUSABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['ERR_ISSUED_TOKEN_AUDIENCE', 'ERR_STS_RESPONSE_INVALID']);

/** A request for a token, and the key that its token is cached under. */
export interface KeyedRequest {
  readonly route: Route;
  readonly credential: TokenCredential;
  readonly session: Session;
  readonly resource: ResourceDigest;
  readonly key: string;
  readonly cause: (() => Cause) | undefined;
  /** Scopes beside the route's own, sorted. */
  readonly added: readonly string[];
}

/** The same request with more scopes. Its token replaces the token with fewer scopes. */
export function withAddedScopes(request: KeyedRequest, added: readonly string[]): KeyedRequest {
  if (added.length === 0) return request;
  const resource = `${request.resource} ${added.join(' ')}`;
  return { ...request, credential: withScopes(request.credential, added), resource, added };
}

/** A session id comes from a header and contains no line break, so it cannot be confused with added scopes. */
export function flightKey({ key, added }: KeyedRequest): string {
  return added.length === 0 ? key : `${key}\n${added.join(' ')}`;
}

/**
 * Did the authorization server issue a token that must not be sent? A step-up without a wider token leaves the caller with the
 * backend's 403, so it need not be repeated at once. Other requests ask again, because they would only get an error.
 */
export function isUnusable(error: unknown): error is CambistError {
  return error instanceof CambistError && UNUSABLE.has(error.code);
}

export function isCachedError(error: unknown): error is CambistError {
  return error instanceof CambistError && CACHED_ERRORS.has(error.code);
}
