import { type Document, LineCounter, parseAllDocuments } from 'yaml';
import { editDocument, jsonIn, MAX_ALIASES, oddBreaks, READING } from './edit-document.ts';
import type { Json } from './json.ts';
import { diffJson } from './json-patch.ts';
import type { Note } from './workloads.ts';

/** A manifest that is not valid YAML or cannot be edited. The message names the file and the line. */
export class ManifestError extends Error {}

/** @param index the position of the document in the stream */
type ManifestChange = (manifest: Json, index: number) => { manifest: Json; notes: Note[] };

/** The manifests of a text. */
export interface ManifestStream {
  readonly name: string;
  readonly text: string;
  readonly manifests: readonly Json[];
  /** Changes each manifest, once. A document that does not change keeps its text. @throws {ManifestError} */
  change(change: ManifestChange): ChangedStream;
}

export interface ChangedStream {
  readonly documents: readonly ChangedDocument[];
  readonly notes: Note[];
}

interface ChangedDocument {
  readonly source: string;
  readonly text: string;
  /** Before and after the change. An empty document has none. */
  readonly before: Json | undefined;
  readonly after: Json | undefined;
}

export function textOf({ documents }: ChangedStream): string {
  return documents.map(({ text }) => text).join('');
}

/**
 * Reads the documents of a YAML or JSON text.
 * @param name the file's name, for messages
 * @throws {ManifestError}
 */
export function readStream(text: string, name: string): ManifestStream {
  const lineCounter = new LineCounter();
  const documents: Document.Parsed[] = parseAllDocuments(text, { ...READING, lineCounter });
  const placeOf = (offset: number): string => `${name}:${lineCounter.linePos(offset).line}`;
  const mark = HIDDEN_MARK.exec(text);
  if (mark !== null) throw new ManifestError(`${placeOf(mark.index)}: ${HIDDEN_MARK_PROBLEM}`);
  const oddBreak = findOddBreak(text, documents);
  if (oddBreak !== undefined) throw new ManifestError(`${placeOf(oddBreak.index)}: ${oddBreakProblem(oddBreak[0])}`);
  const read = documents.map((document) => {
    return { document, manifest: readDocument(document, name, placeOf(document.range[0])) };
  });
  return {
    name,
    text,
    manifests: read.flatMap(({ manifest }) => manifest ?? []),
    change: (change) => changeDocuments({ text, documents: read, placeOf }, change),
  };
}

/** Finds it at the start of a line, except the first. Some readers ignore it there, for others it belongs to the key that follows. */
const HIDDEN_MARK = /(?<=^\uFEFF|\n)\uFEFF/;
const HIDDEN_MARK_PROBLEM =
  'readers of YAML differ on the byte order mark (U+FEFF) at the start of this line: remove it';

/** In JSON, such a character is in a string, because JSON has no comments. */
function findOddBreak(text: string, documents: readonly Document.Parsed[]): RegExpExecArray | undefined {
  const breaks = oddBreaks(text);
  if (breaks.length === 0) return undefined;
  const ranges = documents.flatMap((document) => jsonIn(document, text) ?? []);
  let next = 0;
  return breaks.find(({ index }) => {
    while ((ranges[next]?.end ?? index + 1) <= index) next += 1;
    return index < (ranges[next]?.start ?? text.length);
  });
}

function oddBreakProblem(character: string): string {
  const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  return `kubectl ends the line at the character U+${code}: remove it, or write it as an escape in double quotes`;
}

interface ReadDocument {
  readonly document: Document.Parsed;
  /** An empty document has none. */
  readonly manifest: Json | undefined;
}

interface ReadDocuments {
  readonly text: string;
  readonly documents: readonly ReadDocument[];
  /** The file and the line of an offset, for messages. */
  readonly placeOf: (offset: number) => string;
}

const OBSTACLE =
  'cannot change this value in place: replace aliases and merge keys with copies, and write numbers in decimal';

function changeDocuments({ text, documents, placeOf }: ReadDocuments, change: ManifestChange): ChangedStream {
  const notes: Note[] = [];
  let start = 0;
  const changed = documents.map(({ document, manifest: before }, index): ChangedDocument => {
    const end = index === documents.length - 1 ? text.length : endOfDocument(text, document);
    const source = text.slice(start, end);
    start = end;
    if (before === undefined) return { source, text: source, before, after: undefined };
    const { manifest, notes: more } = change(before, index);
    notes.push(...more);
    const operations = diffJson(before, manifest);
    const edited =
      operations.length === 0 ? { text: source } : editDocument(document, source, text, operations, manifest);
    if ('obstacle' in edited) throw new ManifestError(`${placeOf(edited.obstacle)}: ${OBSTACLE}`);
    return { source, text: edited.text, before, after: manifest };
  });
  const empty = { source: text, text, before: undefined, after: undefined };
  return { documents: changed.length === 0 ? [empty] : changed, notes };
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
