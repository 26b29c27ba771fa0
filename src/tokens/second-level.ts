import type { Route, TokenCredential } from '../config/route.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import type { CambistError } from '../errors.ts';
import type { IssuedToken } from './issued-token.ts';
import type { Subject } from './subject.ts';

/** A token as the second level of the cache sees it. */
export interface SharedEntry {
  readonly route: Route;
  readonly credential: TokenCredential;
  /** Undefined: the token is for cambist itself. */
  readonly subject: Subject | undefined;
  /** Identifies the (session, resource) pair, as in the first level. */
  readonly key: string;
  /** Identifies the (subject token, resource) pair, which all its sessions share: the key of refusals. */
  readonly group: string;
  /** Scopes beside the route's own, sorted. */
  readonly added: readonly string[];
}

/** A token of the second level, or of an exchange. */
export interface SharedToken {
  readonly token: IssuedToken;
  /** Scopes that the token has beside the route's own. */
  readonly added: readonly string[];
}

/**
 * The level of the cache behind the memory of this process, which replicas share. No fault of it reaches a caller: it then costs
 * an exchange.
 */
export interface SecondLevel {
  /**
   * Finds a token that another replica obtained, or runs `exchange`. Replicas that need the same token wait for one exchange.
   * @param replaced the token that this one is to replace. The second level never returns it
   * @throws {CambistError} what `exchange` throws, and a refusal that another replica got a moment ago
   */
  obtain(
    entry: SharedEntry,
    exchange: () => Promise<IssuedToken>,
    replaced: IssuedToken | undefined,
  ): Promise<SharedToken>;
  /** Is this the refusal of another replica? It is asked for again, because the second level knows how long it lasts. */
  isShared(error: CambistError): boolean;
  /** A backend or an authorization server refused this token. It is not returned again. */
  refuse(entry: SharedEntry, token: IssuedToken): void;
  /** A session that was opened takes over this token. */
  give(entry: SharedEntry, token: IssuedToken): void;
  /** Removes this token from an entry, because it moved to another. */
  release(entry: SharedEntry, token: IssuedToken): void;
  /** The session is over at all replicas. */
  endSession(entry: SharedEntry): void;
  /** @param ended is called when another replica ended the session of a key */
  onSessionEnded(ended: (key: string) => void): void;
  /** The caller has consented, so that its refusal is forgotten. */
  consented(entry: SharedEntry): void;
}

/** Errors that concern the caller alone and last for seconds. Faults, and refusals of cambist's own client, may pass at any time. */
export const CACHED_ERRORS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ERR_SUBJECT_TOKEN_INVALID',
  'ERR_INTERACTION_REQUIRED',
  'ERR_CONSENT_REQUIRED',
  'ERR_EXCHANGE_REFUSED',
]);

/** How long a refusal of the caller's token, or of the target, is returned from the cache. */
const REFUSAL_LIFETIME_MS = 10_000;
/** A user who has just consented must not be held off, and cannot consent faster. */
const CONSENT_REFUSAL_LIFETIME_MS = 1000;

/** Milliseconds that a refusal is remembered. */
export function refusalLifetimeMs({ code }: CambistError): number {
  return code === 'ERR_CONSENT_REQUIRED' ? CONSENT_REFUSAL_LIFETIME_MS : REFUSAL_LIFETIME_MS;
}
