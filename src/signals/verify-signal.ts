import { errors, type JWTPayload } from 'jose';
import type { Clock } from '../clock/clock.ts';
import { ASYMMETRIC_ALGORITHMS } from '../config/authorization-server.ts';
import type { Transmitter } from '../config/signals.ts';
import { CambistError } from '../errors.ts';
import type { IssuerKeys } from '../tokens/jwks.ts';
import { reasonOf, verifyJwt } from '../tokens/subject-check.ts';
import { InvalidSignal, readEvents, readLogout, type Signal } from './events.ts';

export type SignalKind = 'event' | 'logout';

/** An event that is dated further ahead is not of this transmitter's present. */
const MAX_AHEAD_SECONDS = 300;

/**
 * Verifies a security event token or a logout token, and reads it.
 * @throws {InvalidSignal} with nothing of the token in its text
 * @throws {CambistError} ERR_STS_UNAVAILABLE, ERR_STS_METADATA_INVALID where the keys are unavailable
 * @see RFC 8417 section 2, OpenID Connect Back-Channel Logout 1.0 section 2.6
 */
export async function verifySignal(
  token: string,
  kind: SignalKind,
  { issuer, audience }: Transmitter,
  keys: IssuerKeys,
  clock: Clock,
): Promise<Signal> {
  const options = {
    issuer,
    audience: [...audience],
    algorithms: [...ASYMMETRIC_ALGORITHMS],
    // A logout token must expire, so that it cannot be replayed for long. Events have no expiry.
    requiredClaims: kind === 'logout' ? ['iat', 'jti', 'exp'] : ['iat', 'jti'],
    clockTolerance: 5,
    currentDate: new Date(clock.wallMs()),
  };
  let claims: JWTPayload;
  try {
    const { payload, protectedHeader } = await verifyJwt(token, keys.find, options);
    checkType(protectedHeader.typ, kind);
    claims = payload;
  } catch (error) {
    if (error instanceof CambistError || error instanceof InvalidSignal) throw error;
    throw new InvalidSignal(errOf(error), reasonOf(error));
  }
  const { iat, jti } = claims;
  if (typeof jti !== 'string' || typeof iat !== 'number')
    throw new InvalidSignal('invalid_request', 'its jti or iat is malformed');
  if (iat > clock.wallMs() / 1000 + MAX_AHEAD_SECONDS)
    throw new InvalidSignal('invalid_request', 'its iat is in the future');
  return kind === 'logout' ? readLogout(claims, issuer) : readEvents(claims, issuer);
}

/** No token of another kind passes for a signal. Older servers give logout tokens no type of their own. */
function checkType(typ: unknown, kind: SignalKind): void {
  const type = typeof typ === 'string' ? typ.toLowerCase().replace(/^application\//, '') : '';
  const accepted = kind === 'event' ? ['secevent+jwt'] : ['logout+jwt', 'jwt', ''];
  if (!accepted.includes(type)) throw new InvalidSignal('invalid_request', 'its typ is not that of such a token');
}

/** @see RFC 8935 section 2.4 */
function errOf(error: unknown): string {
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'iss') return 'invalid_issuer';
    if (error.claim === 'aud') return 'invalid_audience';
  }
  if (error instanceof errors.JWKSNoMatchingKey || error instanceof errors.JWSSignatureVerificationFailed)
    return 'invalid_key';
  return 'invalid_request';
}
