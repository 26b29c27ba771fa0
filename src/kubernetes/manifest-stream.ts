import { readFile } from 'node:fs/promises';
import { arrayBuffer } from 'node:stream/consumers';
import { type Document, LineCounter, parseAllDocuments } from 'yaml';
import { errorCode } from '../errors.ts';
import { editDocument, MAX_ALIASES, oddBreaks, READING } from './edit-document.ts';
import { getIn, type Json, sameJson, textOf } from './json.ts';
import type { Note } from './workloads.ts';

/** A manifest that is not valid YAML or cannot be edited. The message names the file and the line. */
export class ManifestError extends Error {}

/** @returns the changed manifest; undefined removes its document */
export type ManifestChange = (manifest: Json) => { manifest: Json | undefined; notes: Note[] };

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
  let start = 0;
  const read = documents.map((document, index) => {
    const end = index === documents.length - 1 ? text.length : endOfDocument(text, document);
    const source = text.slice(start, end);
    start = end;
    return { document, source, before: readDocument(document, name, placeOf(document.range[0])) };
  });
  return {
    manifests: read.flatMap(({ before }) => before ?? []),
    /** Changes each manifest, once. A document that does not change keeps its text. @throws {ManifestError} */
    change(change: ManifestChange): { text: string; notes: Note[] } {
      const notes: Note[] = [];
      const texts = read.flatMap(({ document, source, before }) => {
        // An empty document.
        if (before === undefined) return source;
        const { manifest, notes: more } = change(before);
        notes.push(...more);
        if (manifest === undefined) return [];
        if (sameJson(before, manifest)) return source;
        const edited = editDocument(document, source, text, before, manifest);
        if (typeof edited === 'number') throw new ManifestError(`${placeOf(edited)}: ${OBSTACLE}`);
        return edited;
      });
      if (texts.length < read.length) return { text: texts.reduce(joinStreams, '').replace(/^---\n/, ''), notes };
      return { text: read.length === 0 ? text : texts.join(''), notes };
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

/** A directive belongs to the marker that follows it. Only comments and blank lines precede it. */
const DIRECTIVE = /^(?:[ \t\r]*(?:#[^\n]*)?\n)*%/;

export function joinStreams(before: string, text: string): string {
  if (before === '') return text;
  const ended = before.endsWith('\n') ? before : `${before}\n`;
  if (DIRECTIVE.test(text)) return `${ended}...\n${text}`;
  return text.startsWith('---') ? ended + text : `${ended}---\n${text}`;
}

function isPrinted(manifest: Json): boolean {
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
  for (const file of files) {
    const name = file === '-' ? 'standard input' : file;
    streams.push(readStream(await read(file, name), name));
  }
  const change = prepare(streams.flatMap(({ manifests }) => manifests));
  const changed = streams.map((stream) =>
    stream.change((manifest) => (dropsPrinted && isPrinted(manifest) ? removed(manifest) : change(manifest))),
  );
  return {
    text: changed.map(({ text }) => text).reduce(joinStreams, ''),
    notes: changed.flatMap(({ notes }) => notes),
  };
}

function removed(configMap: Json): ReturnType<ManifestChange> {
  const object = `configmap/${textOf(getIn(configMap, ['metadata', 'name'])) ?? ''}`;
  return { manifest: undefined, notes: [{ object, outcome: 'removed', reasons: [] }] };
}

async function read(file: string, name: string): Promise<string> {
  let bytes: NodeJS.ArrayBufferView | ArrayBuffer;
  try {
    bytes = file === '-' ? await arrayBuffer(process.stdin) : await readFile(file);
  } catch (error) {
    const code = errorCode(error) ?? 'unknown reason';
    const other = code === 'EISDIR' ? 'this is a folder: name the files in it' : `cannot be read: ${code}`;
    throw new ManifestError(`${name}: ${code === 'ENOENT' ? 'no such file' : other}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ManifestError(`${name}: is not valid UTF-8: convert it to UTF-8`);
  }
}
