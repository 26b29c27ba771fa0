import { isMap, parseDocument } from 'yaml';
import type { Json } from './json.ts';
import { diffJson } from './json-patch.ts';
import { editManifest, READING } from './manifest-text.ts';
import type { Note } from './workloads.ts';

/** A text that is no YAML, or that cannot be changed without rewriting it: the message has file, line and column. */
export class ManifestError extends Error {}

/** `---` at the start of a line begins a document, whatever stands around it: YAML allows it in no text. */
const DOCUMENT_START = /^---(?=\s|$)/m;

/**
 * Changes the documents of a YAML or JSON text. What is not changed stays as it is to the byte, comments and order
 * everywhere.
 * @param name of the file, for messages
 * @throws {ManifestError}
 */
export function changeStream(
  text: string,
  name: string,
  change: (manifest: Json) => { manifest: Json; notes: Note[] },
): { text: string; notes: Note[] } {
  const notes: Note[] = [];
  let line = 1;
  const changed = splitDocuments(text).map((document) => {
    const first = line;
    line += document.split('\n').length - 1;
    const before = readDocument(document, name, first);
    if (before === undefined) return document;
    const { manifest, notes: more } = change(before);
    notes.push(...more);
    const operations = diffJson(before, manifest);
    const edited = operations.length === 0 ? document : editManifest(document, operations, manifest);
    if (edited === undefined) throw new ManifestError(`${name}:${first}: ${CANNOT_EDIT}`);
    return edited;
  });
  return { text: changed.join(''), notes };
}

const CANNOT_EDIT = 'this document cannot be changed where it stands: write out its aliases and merge keys';

/** The documents with all their bytes: joined they are the text again. */
export function splitDocuments(text: string): string[] {
  const documents: string[] = [];
  for (const part of text.split(new RegExp(`(?=${DOCUMENT_START.source})`, 'm'))) {
    // A directive belongs to the document that follows.
    const last = documents.at(-1);
    if (last !== undefined && /^%/m.test(last) && !DOCUMENT_START.test(last)) documents[documents.length - 1] += part;
    else documents.push(part);
  }
  return documents;
}

/** What a document says; undefined where it says nothing. */
function readDocument(text: string, name: string, firstLine: number): Json | undefined {
  const document = parseDocument(text, READING);
  const [problem] = document.errors;
  if (problem !== undefined) {
    const { line = 1, col = 1 } = problem.linePos?.[0] ?? {};
    const [what = ''] = problem.message.split('\n');
    throw new ManifestError(
      `${name}:${firstLine + line - 1}:${col}: ${what.replace(/ at line \d+, column \d+:?$/, '')}`,
    );
  }
  if (document.contents === null || (!isMap(document.contents) && text.trim() === '')) return undefined;
  try {
    return (document.toJS({ maxAliasCount: MAX_ALIASES }) as Json) ?? undefined;
  } catch {
    throw new ManifestError(`${name}:${firstLine}: an alias in this document leads nowhere, or to too much`);
  }
}

/** More than any manifest has, and fewer than it takes to fill the memory. */
const MAX_ALIASES = 1000;
