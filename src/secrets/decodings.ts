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
