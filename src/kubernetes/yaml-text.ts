/** More aliases than any manifest has, and fewer than it takes to exhaust the memory. */
export const MAX_ALIASES = 1000;

/** Numbers of YAML 1.1, of YAML 1.2, and of Go: 0X1F, 0o1_7, +1_0, .5, 1:30. */
const NUMBER = /^[-+]?[._]*(?:\d[\d_]*(?:\.[\d_]*)?(?:e[-+]?\d*)?|0_*[xob][\da-f_]*|\d[\d_]*(?::\d+)+(?:\.\d*)?)$/i;
const OTHER_TYPE = /^(?:\d{4}-\d.*|[-+]?\.?(?:inf|infinity|nan)|y|yes|n|no|on|off|true|false|null|~|<<|=|)$/i;

/** Does some reader of YAML take the text for a number, a timestamp, a boolean, null or a merge key unless it is quoted? */
export function isAmbiguous(text: string): boolean {
  return NUMBER.test(text) || OTHER_TYPE.test(text);
}

/** Numbers that all readers of YAML read alike. */
export const SAFE_NUMBER = /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:e[+-]?\d+)?|0x[\da-f]+)$/i;

/**
 * The characters that end a line for kubectl alone. After one, the text of a comment is content. JSON has no such line breaks.
 * @see https://yaml.org/spec/1.1/#id871136
 */
export function oddBreaks(text: string): RegExpExecArray[] {
  return [...text.matchAll(ODD_BREAK)];
}

const ODD_BREAK = /[\u0085\u2028\u2029]|\r(?!\n)/g;
