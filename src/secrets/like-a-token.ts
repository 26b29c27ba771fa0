/** Text may be percent-encoded twice, for example a URL in a query. */
const MAX_PERCENT_DECODINGS = 2;
/** A credential has at least 8 characters, which are 11 in base64. Both alphabets. */
const BASE64_RUN = /[\w+/-]{11,}/g;
/** Characters of base64 that stand for whole bytes. */
const BASE64_GROUP = 4;

/**
 * A text as its readers may decode it: percent-decoded, and each run of base64 decoded from each of its characters that can begin a group.
 * Takes time in proportion to the length of the text, because others choose it.
 */
export function decodingsOf(text: string): readonly string[] {
  const found: string[] = [];
  let plain = text;
  for (let i = 0; i < MAX_PERCENT_DECODINGS && plain.includes('%'); i++) {
    plain = percentDecoded(plain);
    found.push(plain);
  }
  for (const run of plain.match(BASE64_RUN) ?? []) {
    for (let lead = 0; lead < BASE64_GROUP; lead++)
      found.push(Buffer.from(run.slice(lead), 'base64').toString('latin1'));
  }
  return found;
}

export function percentDecoded(text: string): string {
  return text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

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
