import type { Route, TokenCredential } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { Secret } from '../secrets/secret.ts';
import { acceptToken, type LifetimeSettings } from './accept-token.ts';
import type { IssuedToken } from './issued-token.ts';
import { limitReuse } from './lifetime.ts';
import type { Subject } from './subject.ts';
import { processTokenResponse } from './token-response.ts';

/** A token as the second level of the cache sees it. */
export interface SharedEntry {
  readonly route: Route;
  readonly credential: TokenCredential;
  /** A token for cambist itself has no subject. */
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
  /**
   * Is this the token or the refusal of another replica? The refusal is asked for again, because the second level knows how long it
   * lasts.
   */
  isShared(result: IssuedToken | CambistError): boolean;
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
 * @throws {CambistError} what `processTokenResponse` and `acceptToken` throw; ERR_STS_RESPONSE_INVALID if it is over
 */
export function restoreToken(
  { token, scope, sentAtMs, reusableUntilMs, expiresAtMs }: PortableToken,
  { route, credential, subject }: Pick<SharedEntry, 'route' | 'credential' | 'subject'>,
  settings: LifetimeSettings,
): IssuedToken {
  const { clock, random } = settings;
  const wallMs = clock.wallMs();
  const toMonotonic = clock.monotonicMs() - wallMs;
  if (sentAtMs > wallMs + CLOCK_SKEW_MS) throw unusable('it comes from the future: compare the clocks of the replicas');
  const sent = subject === undefined ? [] : [secretOf(subject.token)];
  const response = processTokenResponse(
    {
      status: 200,
      retryAfter: undefined,
      text: JSON.stringify({
        access_token: token,
        token_type: 'Bearer',
        ...(scope !== undefined && { scope }),
        ...(expiresAtMs !== undefined && { expires_in: (expiresAtMs - sentAtMs) / 1000 }),
      }),
    },
    {
      serverName: credential.authorizationServer.name,
      credentialOwner: 'caller',
      actsForUser: subject !== undefined,
      consent: undefined,
      requestedTokenType: credential.target.requestedTokenType,
      kind: 'bearer',
      sent,
    },
    wallMs,
  );
  const bounds = {
    target: credential.target,
    expect: 'token' as const,
    routeName: route.name,
    subjectExpiresAtMs: subject?.expiresAtMs,
  };
  const { lifetime, granted } = acceptToken(response, Math.min(sentAtMs, wallMs) + toMonotonic, bounds, settings);
  const limited = limitReuse(lifetime, reusableUntilMs + toMonotonic, clock, random());
  // A token that lives as long as the subject token needs no refresh.
  const refreshAtMs = lifetime.refreshAtMs === Number.POSITIVE_INFINITY ? lifetime.refreshAtMs : limited.refreshAtMs;
  if (limited.expiredOnArrival || limited.reusableUntilMs <= clock.monotonicMs()) throw unusable('it is over');
  return { authorization: new Secret(BEARER + response.accessToken), granted, lifetime: { ...limited, refreshAtMs } };
}

function secretOf(token: Secret) {
  return { name: 'subject_token', value: token.reveal(), isCredential: true };
}

function unusable(why: string): CambistError {
  return new CambistError('ERR_STS_RESPONSE_INVALID', `a token in the shared cache is not used: ${why}`);
}
