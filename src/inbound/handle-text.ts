import { percentDecoded } from '../proxy/caller-tokens.ts';

/** In every handle, so that it is recognized wherever it turns up. */
const PREFIX = 'cbh_';

/** A digest of 256 bits in base64url. */
const HANDLE = /(?<![\w-])cbh_[\w-]{43}(?![\w-])/g;

/** A handle alone, and in baggage the number of the request that it was given with. */
const ALONE = /^(cbh_[\w-]{43})(?:\.([0-9a-z]{1,10}))?$/;

const NONE: readonly string[] = [];

/** @param digest 256 bits, base64url */
export function handleText(digest: string): string {
  return PREFIX + digest;
}

/** A handle for the baggage of one request, which says where the handle was given. @param request its number */
export function handleOfRequest(text: string, request: number): string {
  return `${text}.${request.toString(36)}`;
}

/** A text that is a handle. */
export interface ReadHandle {
  readonly text: string;
  /** Undefined if the handle does not say with which request it was given. */
  readonly request: number | undefined;
}

/** Reads a text that is a handle and nothing else. */
export function readHandle(value: string): ReadHandle | undefined {
  const [, text, request] = ALONE.exec(value) ?? [];
  if (text === undefined) return undefined;
  return { text, request: request === undefined ? undefined : Number.parseInt(request, 36) };
}

/** Everything in a text that looks like a handle, plain or percent-encoded. */
export function handlesIn(text: string): readonly string[] {
  const plain = text.includes(PREFIX) ? (text.match(HANDLE) ?? NONE) : NONE;
  // Most headers have no escape.
  if (!text.includes('%')) return plain;
  const decoded = percentDecoded(text);
  return decoded.includes(PREFIX) ? [...plain, ...(decoded.match(HANDLE) ?? NONE)] : plain;
}
