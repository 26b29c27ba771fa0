import { isUtf8 } from 'node:buffer';
import { hash } from 'node:crypto';
import type { JWTPayload } from 'jose';

export type JsonObject = Record<string, unknown>;

/** Parses a JSON object. Undefined for invalid JSON and for any other JSON value. */
export function parseJsonObject(json: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(json);
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** JSON is unambiguous: different lists of parts never have the same text, as concatenated strings may. A digest is short. */
export function jsonDigest(value: unknown): string {
  return hash('sha256', JSON.stringify(value), 'base64url');
}

/** A string as it is, and an empty string for any other value. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** A member of a JSON object, with its position in the text. */
interface JsonMember {
  readonly key: string;
  /** Offset of the key's opening quote. */
  readonly start: number;
  readonly valueStart: number;
  /** Offset after the value. */
  readonly end: number;
}

/**
 * Finds the members of an object without touching other bytes: parsing and writing would change numbers and spellings.
 * @param text valid JSON
 * @param at offset of the object's opening brace
 */
export function jsonMembers(text: string, at: number): JsonMember[] {
  const members: JsonMember[] = [];
  let next = skipSpace(text, at + 1);
  while (text[next] === '"') {
    const start = next;
    const keyEnd = endOfValue(text, start);
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const end = endOfValue(text, valueStart);
    members.push({ key: String(JSON.parse(text.slice(start, keyEnd))), start, valueStart, end });
    next = skipSpace(text, end);
    if (text[next] === ',') next = skipSpace(text, next + 1);
  }
  return members;
}

/** Removes members of an object. @param at as in `jsonMembers` */
export function withoutMembers(text: string, at: number, names: ReadonlySet<string>): string {
  const members = jsonMembers(text, at);
  const [first] = members;
  const last = members.at(-1);
  if (first === undefined || last === undefined) return text;
  const kept = members.filter(({ key }) => !names.has(key)).map(({ start, end }) => text.slice(start, end));
  return text.slice(0, first.start) + kept.join(',') + text.slice(last.end);
}

/** Offset of the first character that is not white space. */
export function skipSpace(text: string, from: number): number {
  let at = from;
  while (/[ \t\r\n]/.test(text[at] ?? '')) at += 1;
  return at;
}

function endOfValue(text: string, from: number): number {
  const first = text[from];
  if (first === '"') return endOfString(text, from);
  if (first !== '{' && first !== '[') {
    let at = from;
    while (at < text.length && !/[,}\] \t\r\n]/.test(text[at] as string)) at += 1;
    return at;
  }
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') at = endOfString(text, at) - 1;
    else if (character === '{' || character === '[') depth += 1;
    else if (character === '}' || character === ']') {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return text.length;
}

/** Offset after the closing quote, or beyond the text if it has none. */
function endOfString(text: string, from: number): number {
  let at = from + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

const B64_TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

/** Is a text well formed as a token in an `Authorization` header? @see RFC 6750 section 2.1, `b64token` */
export function isB64Token(text: string): boolean {
  return B64_TOKEN.test(text);
}

/** The token of an `Authorization` value, without its scheme. */
export function bareToken(authorization: string): string {
  return authorization.slice(authorization.indexOf(' ') + 1);
}

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
  const payload = payloadOf(token);
  return payload === undefined ? undefined : parseJsonObject(Buffer.from(payload, 'base64url').toString());
}

/** The middle of three parts. Undefined for any other token. */
function payloadOf(token: string): string | undefined {
  const start = token.indexOf('.') + 1;
  const end = token.indexOf('.', start);
  if (start === 0 || end === -1 || token.includes('.', end + 1)) return undefined;
  return token.slice(start, end);
}

/**
 * Reads the claims of a token as `readClaims` does.
 * @returns also whether it is `ambiguous`: it has the form of a JWT, although verifiers may read other claims from it, or claims in a
 *   text without any. Some accept a byte order mark, UTF-16, `NaN`, a trailing NUL, a second "aud", or dots within the payload
 */
export function readIssuedClaims(token: string): { readonly claims: Claims; readonly ambiguous: boolean } {
  const payload = payloadOf(token);
  if (payload === undefined) return { claims: undefined, ambiguous: hasFormOfJwt(token) };
  const bytes = Buffer.from(payload, 'base64url');
  const text = bytes.toString();
  const claims = parseJsonObject(text);
  const isStrict = claims !== undefined && isBase64(payload, bytes) && isUtf8(bytes) && !repeatsAudience(text);
  return { claims, ambiguous: !isStrict && hasFormOfJwt(token) };
}

function hasFormOfJwt(token: string): boolean {
  const [header = '', payload, signature, ...rest] = token.split('.', 6);
  if (payload === undefined || signature === undefined) return false;
  if (!isLikeJson(header) && !isLikeJson(payload)) return false;
  return rest.length !== 2 || !isOfEncrypted(header);
}

/** `{"` in base64url. */
const JSON_START = 'eyJ';

/** Tells whether some verifier may read the part as JSON: some ignore characters outside the alphabet, or detect UTF-16 and UTF-32. */
function isLikeJson(part: string): boolean {
  if (part.startsWith(JSON_START)) return true;
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

const BASE64 = /^[\w+/-]*={0,2}$/;

/** Each exchange calls this. The decoder skips characters outside the alphabet, so comparing lengths is enough, and cheaper than the expression. */
function isBase64(payload: string, decoded: Buffer): boolean {
  const isWhole = payload.length % 4 !== 1 && decoded.length === Math.floor((payload.length * 3) / 4);
  return isWhole || BASE64.test(payload);
}

const AUDIENCE = /"aud"/gi;

/**
 * Does an object have two members "aud"? Parsers keep the first or the last of them, and those of Go ignore letter case.
 * @param text valid JSON
 */
function repeatsAudience(text: string): boolean {
  // Few tokens need the slow check.
  if ((text.match(AUDIENCE)?.length ?? 0) < 2 && !text.includes('\\')) return false;
  return jsonMembers(text, skipSpace(text, 0)).filter(({ key }) => key.toLowerCase() === 'aud').length > 1;
}
