import { readFile } from 'node:fs/promises';
import { arrayBuffer } from 'node:stream/consumers';
import { type Document, LineCounter, parseAllDocuments } from 'yaml';
import { errorCode } from '../errors.ts';
import { BYTE_ORDER_MARK, editDocument, MAX_ALIASES, oddBreaks, READING } from './edit-document.ts';
import { getIn, type Json, textOf as stringOf } from './json.ts';
import { diffJson } from './json-patch.ts';
import type { Note } from './workloads.ts';

/** A manifest that is not valid YAML or cannot be edited. The message names the file and the line. */
export class ManifestError extends Error {}

export type ManifestChange = (manifest: Json) => { manifest: Json; notes: Note[] };

export function textOf({ documents }: ReturnType<ReturnType<typeof readStream>['change']>): string {
  return documents.map(({ text }) => text).join('');
}

/**
 * Reads the documents of a YAML or JSON text.
 * @throws {ManifestError}
 */
export function readStream(text: string, name: string) {
  const lineCounter = new LineCounter();
  const documents: Document.Parsed[] = parseAllDocuments(text, { ...READING, lineCounter });
  const placeOf = (offset: number): string => `${name}:${lineCounter.linePos(offset).line}`;
  const mark = HIDDEN_MARK.exec(text);
  if (mark !== null) throw new ManifestError(`${placeOf(mark.index)}: ${HIDDEN_MARK_PROBLEM}`);
  const [oddBreak] = oddBreaks(text);
  if (oddBreak !== undefined) throw new ManifestError(`${placeOf(oddBreak.index)}: ${oddBreakProblem(oddBreak[0])}`);
  const read = documents.map((document) => {
    return { document, manifest: readDocument(document, name, placeOf(document.range[0])) };
  });
  return {
    manifests: read.flatMap(({ manifest }) => manifest ?? []),
    /** Changes each manifest, once. A document that does not change keeps its text. @throws {ManifestError} */
    change(change: ManifestChange) {
      const notes: Note[] = [];
      let start = 0;
      const changed = read.map(({ document, manifest: before }, index) => {
        const end = index === read.length - 1 ? text.length : endOfDocument(text, document);
        const source = text.slice(start, end);
        start = end;
        // An empty document.
        if (before === undefined) return { source, text: source, before };
        const { manifest, notes: more } = change(before);
        notes.push(...more);
        const operations = diffJson(before, manifest);
        if (operations.length === 0) return { source, text: source, before };
        const edited = editDocument(document, source, text, operations, manifest);
        if (typeof edited === 'number') throw new ManifestError(`${placeOf(edited)}: ${OBSTACLE}`);
        return { source, text: edited, before };
      });
      return { documents: changed.length === 0 ? [{ source: text, text, before: undefined }] : changed, notes };
    },
  };
}

const OBSTACLE =
  'cannot change this value in place: replace aliases and merge keys with copies, and write numbers in decimal';

/** Finds it at the start of a line, except the first. Some readers ignore it there, for others it belongs to the key that follows. */
const HIDDEN_MARK = /(?<=^\uFEFF|\n)\uFEFF/;
const HIDDEN_MARK_PROBLEM =
  'readers of YAML differ on the byte order mark (U+FEFF) at the start of this line: remove it';

function oddBreakProblem(character: string): string {
  const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  return `kubectl ends the line at the character U+${code}: remove it, or write it as an escape in double quotes`;
}

/** A document whose last value is empty ends before its line break. */
function endOfDocument(text: string, { range: [, , end] }: Document.Parsed): number {
  const next = text.indexOf('\n', end) + 1 || text.length;
  return text[end - 1] !== '\n' && text.slice(end, next).trim() === '' ? next : end;
}

/** @returns undefined for an empty document */
function readDocument(document: Document.Parsed, name: string, line: string): Json | undefined {
  const [error] = document.errors;
  if (error !== undefined) {
    const { line: row = 1, col = 1 } = error.linePos?.[0] ?? {};
    const [message = ''] = error.message.split('\n');
    throw new ManifestError(`${name}:${row}:${col}: ${message.replace(/ at line \d+, column \d+:?$/, '')}`);
  }
  try {
    return (document.toJS({ maxAliasCount: MAX_ALIASES }) as Json) ?? undefined;
  } catch {
    throw new ManifestError(`${line}: an alias in this document is unknown or expands to too much`);
  }
}

/** Marks the ConfigMap that `inject --config` prints before the manifests. */
export const PRINTED = { 'cambist.dev/printed-by': 'inject' } as const;

const [[MARK, INJECT]] = Object.entries(PRINTED) as [[string, string]];

/** Ends a document whose successor has a marker of its own, so that a removal knows which marker to take along. */
const END = '...\n';
const START = '---\n';

/** A directive belongs to the marker that follows it. Only comments and blank lines precede it. */
const DIRECTIVE = /^(?:[ \t\r]*(?:#[^\n]*)?\n)*%/;

/** Puts the ConfigMaps before a stream. A byte order mark stays at the start. */
export function joinPrinted(configMaps: string, text: string): string {
  if (configMaps === '') return text;
  const mark = text.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : '';
  const rest = text.slice(mark.length);
  return mark + configMaps + (rest.startsWith('---') || DIRECTIVE.test(rest) ? END : START) + rest;
}

export function joinStreams(before: string, text: string): string {
  if (before === '') return text;
  const ended = before.endsWith('\n') ? before : `${before}\n`;
  const next = text.startsWith(BYTE_ORDER_MARK) ? text.slice(BYTE_ORDER_MARK.length) : text;
  if (DIRECTIVE.test(next)) return ended + END + next;
  return next.startsWith('---') ? ended + next : ended + START + next;
}

/**
 * Removes the ConfigMaps that `joinPrinted` put before a stream.
 * @throws {ManifestError}
 */
export function removePrinted(text: string, name: string): { text: string; notes: Note[] } {
  if (!text.includes(MARK)) return { text, notes: [] };
  const { documents } = readStream(text, name).change((manifest) => ({ manifest, notes: [] }));
  const notes: Note[] = [];
  let dropsMarker = false;
  const kept = documents.map(({ source, before }) => {
    const own = dropsMarker && source.startsWith(START) ? source.slice(START.length) : source;
    dropsMarker = isPrinted(before);
    if (!dropsMarker) return own;
    notes.push({
      object: `configmap/${stringOf(getIn(before, ['metadata', 'name'])) ?? ''}`,
      outcome: 'removed',
      reasons: [],
    });
    dropsMarker = !source.endsWith(END);
    return source.startsWith(BYTE_ORDER_MARK) ? BYTE_ORDER_MARK : '';
  });
  return { text: kept.join(''), notes };
}

function isPrinted(manifest: Json | undefined): boolean {
  return getIn(manifest, ['kind']) === 'ConfigMap' && getIn(manifest, ['metadata', 'annotations', MARK]) === INJECT;
}

/**
 * Changes the manifests in files and joins them into one text. The file `-` is standard input.
 * @param prepare called with all manifests, before the first is changed
 * @param dropsPrinted leaves out the ConfigMaps that an earlier injection printed
 * @throws {ManifestError}
 */
export async function changeFiles(
  files: readonly string[],
  prepare: (manifests: readonly Json[]) => ManifestChange,
  { dropsPrinted = false } = {},
): Promise<{ text: string; notes: Note[] }> {
  const streams: ReturnType<typeof readStream>[] = [];
  const dropped: Note[] = [];
  for (const file of files) {
    const name = file === '-' ? 'standard input' : file;
    const given = await read(file, name);
    const { text, notes } = dropsPrinted ? removePrinted(given, name) : { text: given, notes: [] };
    dropped.push(...notes);
    streams.push(readStream(text, name));
  }
  const change = prepare(streams.flatMap(({ manifests }) => manifests));
  const changed = streams.map((stream) => stream.change(change));
  return {
    text: changed.map(textOf).reduce(joinStreams, ''),
    notes: [...dropped, ...changed.flatMap(({ notes }) => notes)],
  };
}

/** Reads every byte, so that `uninject` can restore a byte order mark. */
async function read(file: string, name: string): Promise<string> {
  let bytes: NodeJS.ArrayBufferView | ArrayBuffer;
  try {
    bytes = file === '-' ? await arrayBuffer(process.stdin) : await readFile(file);
  } catch (error) {
    const code = errorCode(error) ?? 'unknown reason';
    throw new ManifestError(`${name}: ${code === 'ENOENT' ? 'no such file' : `cannot be read: ${code}`}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new ManifestError(`${name}: is not valid UTF-8: convert it to UTF-8`);
  }
}
