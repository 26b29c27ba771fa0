import { percentDecoded } from '../proxy/caller-tokens.ts';

/** In every handle, so that it is recognized wherever it turns up. */
const PREFIX = 'cbh_';

/** A digest of 256 bits in base64url. */
const HANDLE = /(?<![\w-])cbh_[\w-]{43}(?![\w-])/g;

/** @param digest 256 bits, base64url */
export function handleText(digest: string): string {
  return PREFIX + digest;
}

/** Everything in a text that looks like a handle, plain or percent-encoded. */
export function handlesIn(text: string): readonly string[] {
  const decoded = text.includes('%') ? percentDecoded(text) : text;
  if (!text.includes(PREFIX) && !decoded.includes(PREFIX)) return [];
  const found = text.match(HANDLE) ?? [];
  return decoded === text ? found : [...found, ...(decoded.match(HANDLE) ?? [])];
}
