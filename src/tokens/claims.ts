import type { JWTPayload } from 'jose';
import { decodeProtectedHeader } from 'jose/decode/protected_header';
import { decodeJwt } from 'jose/jwt/decode';

/** How far the clock of whoever wrote an `exp` may be behind ours before it counts against the token. */
export const EXPIRY_LEEWAY_MS = 5000;

/** The claims of a JWT, unverified; undefined where the token is opaque to us (or encrypted). */
export type Claims = JWTPayload | undefined;

/** Reads the claims of a token. They only ever make cambist stricter: an end that comes sooner, an audience that does not fit. */
export function readClaims(token: string): Claims {
  try {
    if (decodeProtectedHeader(token).alg === undefined) return undefined;
    return decodeJwt(token);
  } catch {
    return undefined;
  }
}
