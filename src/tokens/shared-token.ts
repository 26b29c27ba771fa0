import { CambistError } from '../errors.ts';
import { Secret } from '../secrets/secret.ts';
import { acceptToken, type LifetimeSettings } from './accept-token.ts';
import type { IssuedToken } from './issued-token.ts';
import { limitReuse } from './lifetime.ts';
import type { KeyedRequest } from './session.ts';
import type { Subject } from './subject.ts';
import { checkToken } from './token-response.ts';

/** A token of the second level, or of an exchange. */
export interface SharedToken {
  readonly token: IssuedToken;
  /** Scopes that the token has beside the route's own. */
  readonly added: readonly string[];
  /** Another replica obtained it. */
  readonly isShared: boolean;
}

/**
 * The level of the cache behind the memory of this process, which replicas share. No fault of it reaches a caller: it then costs
 * an exchange.
 */
export interface SecondLevel {
  /**
   * Finds a token that another replica obtained, or runs `exchange`. Replicas that need the same token wait for one exchange.
   * @param replaced the token that this one is to replace. The second level never returns it
   * @throws {CambistError} what `exchange` throws
   */
  obtain(
    request: KeyedRequest,
    exchange: () => Promise<IssuedToken>,
    replaced: IssuedToken | undefined,
  ): Promise<SharedToken>;
  /** Drops a token that a backend or an authorization server refused. It is not returned again. */
  dropRefused(request: KeyedRequest, token: IssuedToken): void;
  /** A session that was opened takes over this token. */
  give(request: KeyedRequest, token: IssuedToken): void;
  /** Removes this token from a key, because it moved to another. */
  release(request: KeyedRequest, token: IssuedToken): void;
  /** The session is over at all replicas. */
  endSession(request: KeyedRequest): void;
  /** @param ended is called when another replica ended the session of a key */
  onSessionEnded(ended: (key: string) => void): void;
}

/** An issued token outside of this process. Times are epoch milliseconds, because replicas have no other clock in common. */
export interface PortableToken {
  readonly token: string;
  readonly scope?: string | undefined;
  readonly sentAtMs: number;
  readonly reusableUntilMs: number;
  /** Neither the response nor the token has to state it. */
  readonly expiresAtMs?: number | undefined;
}

/** Clocks of replicas may differ by this much. A token from further in the future is not used. */
export const CLOCK_SKEW_MS = 5000;

const BEARER = 'Bearer ';

/** The token in portable form. Undefined for a token that is bound to a key of this process. */
export function toPortable(
  { authorization, granted, lifetime, dpop }: IssuedToken,
  { clock }: Pick<LifetimeSettings, 'clock'>,
): PortableToken | undefined {
  const value = authorization.reveal();
  if (dpop !== undefined || !value.startsWith(BEARER)) return undefined;
  const toWall = clock.wallMs() - clock.monotonicMs();
  const expiresAtMs = Math.min(lifetime.expiresAtMs, lifetime.expiresAtMonotonicMs + toWall);
  return {
    token: value.slice(BEARER.length),
    scope: granted.scope,
    sentAtMs: Math.round(lifetime.sentAtMs + toWall),
    reusableUntilMs: Math.floor(lifetime.reusableUntilMs + toWall),
    expiresAtMs: Number.isFinite(expiresAtMs) ? Math.floor(expiresAtMs) : undefined,
  };
}

/**
 * Checks a token that another replica obtained, as if it had just been issued, and never lengthens its life.
 * @throws {CambistError} what `checkToken` and `acceptToken` throw; ERR_STS_RESPONSE_INVALID if it is over
 */
export function restoreToken(
  { token, scope, sentAtMs, reusableUntilMs, expiresAtMs }: PortableToken,
  { route, credential }: KeyedRequest,
  subject: Subject,
  settings: LifetimeSettings,
): IssuedToken {
  const { clock, random } = settings;
  const wallMs = clock.wallMs();
  const toMonotonic = clock.monotonicMs() - wallMs;
  if (sentAtMs > wallMs + CLOCK_SKEW_MS) throw unusable('it comes from the future: compare the clocks of the replicas');
  const sent = [{ name: 'subject_token', value: subject.token.reveal(), isCredential: true }];
  checkToken(token, { serverName: credential.authorizationServer.name, sent });
  const expiresInSeconds = expiresAtMs === undefined ? undefined : (expiresAtMs - sentAtMs) / 1000;
  const { lifetime, granted } = acceptToken(
    { accessToken: token, tokenType: 'Bearer', expiresInSeconds, scope },
    Math.min(sentAtMs, wallMs) + toMonotonic,
    { target: credential.target, expect: 'token', routeName: route.name, subjectExpiresAtMs: subject.expiresAtMs },
    settings,
  );
  const limited = limitReuse(lifetime, reusableUntilMs + toMonotonic, clock, random());
  // A token that lives as long as the subject token needs no refresh.
  const refreshAtMs = lifetime.refreshAtMs === Number.POSITIVE_INFINITY ? lifetime.refreshAtMs : limited.refreshAtMs;
  if (limited.expiredOnArrival || limited.reusableUntilMs <= clock.monotonicMs()) throw unusable('it is over');
  return { authorization: new Secret(BEARER + token), granted, lifetime: { ...limited, refreshAtMs } };
}

function unusable(why: string): CambistError {
  return new CambistError('ERR_STS_RESPONSE_INVALID', `a token in the shared cache is not used: ${why}`);
}
