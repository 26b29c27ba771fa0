import { decodingsOf } from './decodings.ts';

/** base64url of `{"`, the start of a JSON object, or a handle, which stands for a token. */
const START = /eyJ[\w-]{8}|cbh_/;
/** base64url of `{` and white space. Counts only if a second part follows. */
const LOOSE_START = /e[wy][\w-]{10}/;
const SECOND_PART = /^\.[\w-]{8}/;
/** Longer text is never shown whole, so it is not searched. */
const MAX_LENGTH = 64 * 1024;

/**
 * Could a text be a token, or contain one? Such text is left out of everything that is logged or recorded. Takes time in proportion
 * to the length of the text, because others choose it.
 */
export function isLikeToken(text: string): boolean {
  if (text.length > MAX_LENGTH || START.test(text)) return true;
  if (!LOOSE_START.test(text)) return false;
  for (const { 0: part, index } of text.matchAll(/[\w-]{12,}/g)) {
    const end = index + part.length;
    if (LOOSE_START.test(part) && SECOND_PART.test(text.slice(end, end + 9))) return true;
  }
  return false;
}

/** The same for a text that its readers may decode. */
export function hidesToken(text: string): boolean {
  return isLikeToken(text) || decodingsOf(text).some(isLikeToken);
}
