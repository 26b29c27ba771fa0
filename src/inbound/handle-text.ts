import { percentDecoded } from '../proxy/caller-tokens.ts';

/** In every handle, so that it is recognized wherever it turns up. */
const PREFIX = 'cbh_';

/** A digest of 256 bits in base64url. */
const HANDLE = /(?<![\w-])cbh_[\w-]{43}(?![\w-])/g;

const NONE: readonly string[] = [];

/** @param digest 256 bits, base64url */
export function handleText(digest: string): string {
  return PREFIX + digest;
}

/** Everything in a text that looks like a handle, plain or percent-encoded. */
export function handlesIn(text: string): readonly string[] {
  const plain = text.includes(PREFIX) ? (text.match(HANDLE) ?? NONE) : NONE;
  // Most headers have no escape.
  if (!text.includes('%')) return plain;
  const decoded = percentDecoded(text);
  return decoded.includes(PREFIX) ? [...plain, ...(decoded.match(HANDLE) ?? NONE)] : plain;
}
