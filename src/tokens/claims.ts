import type { JWTPayload } from 'jose';
import { decodeProtectedHeader } from 'jose/decode/protected_header';
import { decodeJwt } from 'jose/jwt/decode';

/** Tolerated difference between our clock and the clock of the server that set an `exp`. */
export const EXPIRY_LEEWAY_MS = 5000;

/** The claims of a JWT, unverified. Undefined for an opaque or encrypted token. */
export type Claims = JWTPayload | undefined;

/** Reads the claims of a token. Unverified claims may only make cambist stricter: an earlier expiry, or a wrong audience. */
export function readClaims(token: string): Claims {
  try {
    if (decodeProtectedHeader(token).alg === undefined) return undefined;
    return decodeJwt(token);
  } catch {
    return undefined;
  }
}
