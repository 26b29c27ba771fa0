import { Document, visit } from 'yaml';
import { isArray, isObject, type Json } from './json.ts';

/** More aliases than any manifest has, and fewer than it takes to exhaust the memory. */
export const MAX_ALIASES = 1000;

/** How a document is written. */
export interface Style {
  readonly lineBreak: string;
  readonly indent: number;
  /** Are lists deeper than the keys that they belong to? */
  readonly indentSeq: boolean;
  /** The indentation of a document in JSON. */
  readonly json: string | undefined;
}

/** Numbers of YAML 1.1, of YAML 1.2, and of Go: 0X1F, 0o1_7, +1_0, .5, 1:30. */
const NUMBER = /^[-+]?[._]*(?:\d[\d_]*(?:\.[\d_]*)?(?:e[-+]?\d*)?|0_*[xob][\da-f_]*|\d[\d_]*(?::\d+)+(?:\.\d*)?)$/i;
const OTHER_TYPE = /^(?:\d{4}-\d.*|[-+]?\.?(?:inf|infinity|nan)|y|yes|n|no|on|off|true|false|null|~|<<|=|)$/i;

/** Does some reader of YAML take the text for a number, a timestamp, a boolean, null or a merge key unless it is quoted? */
export function isAmbiguous(text: string): boolean {
  return NUMBER.test(text) || OTHER_TYPE.test(text);
}

/**
 * The characters that end a line for kubectl alone. After one, the text of a comment is content. JSON has no such line breaks.
 * @see https://yaml.org/spec/1.1/#id871136
 */
export function oddBreaks(text: string): RegExpExecArray[] {
  return [...text.matchAll(ODD_BREAK)];
}

const ODD_BREAK = /[\u0085\u2028\u2029]|\r(?!\n)/g;

/** Quotes what some reader takes for another type. */
function write(value: Json, options: { indent?: number; indentSeq?: boolean; blockQuote?: boolean } = {}): string {
  const document = new Document(value, { compat: 'yaml-1.1', aliasDuplicateObjects: false });
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value === 'string' && isAmbiguous(node.value)) node.type = 'QUOTE_DOUBLE';
    },
  });
  return document.toString({ lineWidth: 0, ...options });
}

/**
 * Writes a list or map as lines of a block.
 * A string whose first line is blank is quoted: the yaml package loses the indentation of the lines that follow.
 */
export function blockText(value: Json, column: number, { lineBreak, indent, indentSeq }: Style): string {
  const blockQuote = !/"(?: |\\t)*\\n/.test(JSON.stringify(value));
  const margin = ' '.repeat(column);
  const lines = write(value, { indent, indentSeq, blockQuote }).replace(/\n$/, '').split('\n');
  return lines.map((line) => (line === '' ? '' : margin + line) + lineBreak).join('');
}

/** Writes a scalar, or an empty list or map, on one line. @param quote the quotation mark of the scalar before */
export function inlineText(value: Json, quote?: string): string {
  if (typeof value !== 'string') return JSON.stringify(value);
  if (quote === '"' || /[\n\r]/.test(value)) return JSON.stringify(value);
  if (quote === "'") return `'${value.replaceAll("'", "''")}'`;
  return write(value).trimEnd();
}

/** Writes a value in flow style, on one line. */
export function flowText(value: Json): string {
  if (isArray(value)) return `[${value.map(flowText).join(', ')}]`;
  if (isObject(value)) return `{${flowPairs(value)}}`;
  return typeof value === 'string' && !isPlain(value) ? JSON.stringify(value) : String(value);
}

export function flowPairs(value: Json): string {
  if (!isObject(value)) return '';
  return Object.entries(value)
    .map(([key, one]) => `${flowText(key)}: ${flowText(one)}`)
    .join(', ');
}

function isPlain(text: string): boolean {
  return /^[\w./-]+$/.test(text) && inlineText(text) === text;
}
