import type { JWTPayload } from 'jose';
import { parseJsonObject } from './json-object.ts';

/** Tolerated difference between our clock and the clock of the server that set an `exp`. */
export const EXPIRY_LEEWAY_MS = 5000;

/** The claims of a JWT, unverified. Undefined for an opaque or encrypted token. */
export type Claims = JWTPayload | undefined;

/**
 * Reads the claims of a token: the JSON object in the middle of three parts. Unverified claims may only make cambist stricter: an
 * earlier expiry, or a wrong audience. So the header stays unread, and base64url is read leniently.
 * @see RFC 7519 section 3
 */
export function readClaims(token: string): Claims {
  const start = token.indexOf('.') + 1;
  const end = token.indexOf('.', start);
  if (start === 0 || end === -1 || token.includes('.', end + 1)) return undefined;
  return parseJsonObject(Buffer.from(token.slice(start, end), 'base64url').toString());
}
