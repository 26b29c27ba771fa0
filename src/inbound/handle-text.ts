import { crc32 } from 'node:zlib';
import { decodingsOf } from '../secrets/like-a-token.ts';

/** Every handle begins with it, so that it is recognized wherever it turns up. */
const PREFIX = 'cbh_';

/** 222 bits of a digest, and then a checksum of six characters. */
const DIGEST_LENGTH = 37;
const LENGTH = PREFIX.length + 43;

/** A text that looks like a handle and stands between other characters than those of words. */
const WORD = /(?<![\w-])cbh_[\w-]{43}(?![\w-])/y;
const SHAPE = /^cbh_[\w-]{43}$/;

/** A text without any of these contains no handle, plain or encoded. A handle has at least 62 characters in base64. */
const POSSIBLE = /cbh_|%|[\w+/-]{62}/;

/** A handle alone, and in baggage the number of the request that it was given with. */
const ALONE = /^(cbh_[\w-]{43})(?:\.([0-9a-z]{1,10}))?$/;

const NONE: readonly string[] = [];

/** @param digest 256 bits, base64url */
export function handleText(digest: string): string {
  const start = PREFIX + digest.slice(0, DIGEST_LENGTH);
  return start + checksum(start);
}

/** The checksum tells a handle inside a longer word from random text, which contains a prefix now and then. */
function checksum(text: string): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(text));
  return bytes.toString('base64url');
}

/** A handle for the baggage of one request, which says where the handle was given. @param request its number */
export function handleOfRequest(text: string, request: number): string {
  return `${text}.${request.toString(36)}`;
}

export interface ReadHandle {
  readonly text: string;
  /** The number of the request that the handle was given with, if it says so. */
  readonly request: number | undefined;
}

/** Reads a text that is a handle and nothing else. */
export function readHandle(value: string): ReadHandle | undefined {
  const [, text, request] = ALONE.exec(value) ?? [];
  if (text === undefined) return undefined;
  return { text, request: request === undefined ? undefined : Number.parseInt(request, 36) };
}

/** Everything in a text that looks like a handle, plain or encoded. */
export function handlesIn(text: string): readonly string[] {
  if (!POSSIBLE.test(text)) return NONE;
  return [text, ...decodingsOf(text)].flatMap(plainHandles);
}

function plainHandles(text: string): string[] {
  const found: string[] = [];
  for (let at = text.indexOf(PREFIX); at !== -1; at = text.indexOf(PREFIX, at + 1)) {
    const candidate = text.slice(at, at + LENGTH);
    if (isWordAt(text, at) || isHandle(candidate)) found.push(candidate);
  }
  return found;
}

function isWordAt(text: string, at: number): boolean {
  WORD.lastIndex = at;
  return WORD.test(text);
}

function isHandle(text: string): boolean {
  const end = PREFIX.length + DIGEST_LENGTH;
  return SHAPE.test(text) && checksum(text.slice(0, end)) === text.slice(end);
}
