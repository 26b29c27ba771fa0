import type { Clock } from '../clock/clock.ts';
import { CambistError } from '../errors.ts';
import { checkAudience, type Granted, grantedBy, isFor, isForOthers } from './audience.ts';
import { computeLifetime, expiryOf, type HasLifetime } from './lifetime.ts';
import type { SentValue } from './sent-values.ts';
import type { TokenRequest } from './token-request.ts';
import type { TokenResponse } from './token-response.ts';
import { type Claims, EXPIRY_LEEWAY_MS, readIssuedClaims } from './token-text.ts';

export interface LifetimeSettings {
  readonly clock: Clock;
  readonly maxAgeMs: () => number;
  /** Returns a number from 0 to 1, for jitter. */
  readonly random: () => number;
}

/** The part of a token request that decides which token is accepted. */
type AcceptedFor = Pick<TokenRequest, 'target' | 'routeName' | 'subjectExpiresAtMs' | 'expect'>;

interface AcceptedClaims extends HasLifetime {
  /** The token is also valid at audiences that the route does not expect. */
  readonly isForOthers: boolean;
  readonly claims: Claims;
  readonly granted: Granted;
}

/** A token that passed all checks. */
export interface AcceptedToken extends Pick<TokenResponse, 'accessToken' | 'tokenType'>, AcceptedClaims {
  /** All values of the request. */
  readonly sent: readonly SentValue[];
  /** Claims of the actor token in the request, unless it is opaque. */
  readonly actor?: Claims | undefined;
}

/**
 * Checks the claims of an issued token against its request, and computes its lifetime. An opaque token cannot be checked and is
 * accepted.
 * @param sentAtMs monotonic milliseconds when the request was sent
 * @throws {CambistError} ERR_ISSUED_TOKEN_AUDIENCE, or ERR_STS_RESPONSE_INVALID when the token is expired
 */
export function acceptToken(
  { accessToken, expiresInSeconds, scope }: TokenResponse,
  sentAtMs: number,
  request: AcceptedFor,
  { clock, maxAgeMs, random }: LifetimeSettings,
): AcceptedClaims {
  const { target, routeName, subjectExpiresAtMs } = request;
  const { expectAudience } = target;
  const { claims, ambiguous: isAmbiguous } = readIssuedClaims(accessToken);
  if (expectAudience !== 'any' && isAmbiguous) throw ambiguous(request);
  if (request.expect === 'token') checkAudience(claims, expectAudience, routeName);
  else if (!isFor(claims, expectAudience)) throw wrongAssertion(request, claims);
  if (expiryOf(claims) + EXPIRY_LEEWAY_MS <= clock.wallMs()) {
    throw new CambistError(
      'ERR_STS_RESPONSE_INVALID',
      `route "${routeName}": the issued token was expired on arrival: compare the clocks of the authorization server ` +
        'and of this machine',
    );
  }
  const bounds = { sentAtMs, expiresInSeconds, subjectExpiresAtMs, maxAgeMs: maxAgeMs() };
  return {
    lifetime: computeLifetime(claims, bounds, clock, random()),
    isForOthers: request.expect === 'token' && isForOthers(claims, expectAudience),
    claims,
    granted: grantedBy(claims, scope),
  };
}

function ambiguous({ routeName }: AcceptedFor): CambistError {
  return new CambistError(
    'ERR_ISSUED_TOKEN_AUDIENCE',
    `route "${routeName}": the audience of the issued token cannot be checked: it has the form of a JWT, but its claims are not ` +
      'strict JSON with at most one "aud": fix the claims at the authorization server, or set expect_audience: any if it issues no JWTs',
  );
}

function wrongAssertion({ target, routeName }: AcceptedFor, claims: Claims): CambistError {
  return new CambistError(
    'ERR_ISSUED_TOKEN_AUDIENCE',
    `route "${routeName}": the assertion of its chain is for another server: its "aud" contains none of ` +
      `${JSON.stringify(target.expectAudience)}: check the name of the second authorization server at the first`,
    { issuedAudience: grantedBy(claims, undefined).audience },
  );
}
