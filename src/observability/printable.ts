/** Control characters, and invisible ones, which can reorder a line or break it: of the Unicode categories C and Z. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text from outside, made safe for a terminal. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, '?');
}
