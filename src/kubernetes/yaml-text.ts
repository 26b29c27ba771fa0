import { stringify } from 'yaml';
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

/** Quotes what YAML 1.1 reads as another type. */
const WRITING = { compat: 'yaml-1.1', lineWidth: 0 } as const;

/**
 * Writes a list or map as lines of a block.
 * A string whose first line is blank is quoted: the yaml package loses the indentation of the lines that follow.
 */
export function blockText(value: Json, column: number, { lineBreak, indent, indentSeq }: Style): string {
  const blockQuote = !/"(?: |\\t)*\\n/.test(JSON.stringify(value));
  const margin = ' '.repeat(column);
  const lines = stringify(value, { ...WRITING, indent, indentSeq, blockQuote })
    .replace(/\n$/, '')
    .split('\n');
  return lines.map((line) => (line === '' ? '' : margin + line) + lineBreak).join('');
}

/** Writes a scalar, or an empty list or map, on one line. @param quote the quotation mark of the scalar before */
export function inlineText(value: Json, quote?: string): string {
  if (typeof value !== 'string') return JSON.stringify(value);
  if (quote === '"' || /[\n\r]/.test(value)) return JSON.stringify(value);
  if (quote === "'") return `'${value.replaceAll("'", "''")}'`;
  return stringify(value, WRITING).trimEnd();
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
