/** Control and format characters, and line and paragraph separators. They can reorder or break a line. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Text from outside, made safe for a terminal. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, '?');
}
