import type { JWTPayload } from 'jose';
import { jsonMembers, skipSpace } from './json-members.ts';
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

/** Keeps a byte order mark, which is invalid in JSON. */
const STRICT_UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Tells whether a token has the form of a JWT, although verifiers may read other claims from it than `readClaims`, or claims where
 * `readClaims` finds none. Some accept a byte order mark, UTF-16, `NaN`, a trailing NUL, a second "aud", or dots within the payload.
 */
export function isAmbiguousJwt(token: string): boolean {
  const [header = '', payload, signature, ...rest] = token.split('.', 6);
  if (payload === undefined || signature === undefined) return false;
  if (!isLikeJson(header) && !isLikeJson(payload)) return false;
  if (rest.length > 0) return rest.length !== 2 || !isOfEncrypted(header);
  return !hasStrictClaims(payload);
}

/** As tolerant as any verifier, which may skip characters outside the alphabet, and detect UTF-16 and UTF-32. */
function isLikeJson(part: string): boolean {
  const bytes = Buffer.from(part.replace(/[^\w+/-]/g, ''), 'base64url');
  const text = bytes.toString('latin1').replace(/[^\x21-\x7e]/g, '');
  return text.startsWith('{"') && text.endsWith('}');
}

/** The algorithms that encrypt keys. A verifier of signatures may ignore "enc", but accepts none of these. */
const KEY_ENCRYPTION = /^(?:RSA|A\d+|ECDH-ES|PBES2|dir$)/;

/** @see RFC 7516 section 9 */
function isOfEncrypted(header: string): boolean {
  const { alg, enc } = parseJsonObject(Buffer.from(header, 'base64url').toString()) ?? {};
  return typeof enc === 'string' && typeof alg === 'string' && KEY_ENCRYPTION.test(alg);
}

function hasStrictClaims(payload: string): boolean {
  if (!/^[\w+/-]*={0,2}$/.test(payload)) return false;
  let text: string;
  try {
    text = STRICT_UTF_8.decode(Buffer.from(payload, 'base64url'));
  } catch {
    return false;
  }
  if (parseJsonObject(text) === undefined) return false;
  // Parsers keep the first or the last of two members, and those of Go ignore letter case.
  return jsonMembers(text, skipSpace(text, 0)).filter(({ key }) => key.toLowerCase() === 'aud').length < 2;
}
