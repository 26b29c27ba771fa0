import { type Document, LineCounter, parseAllDocuments } from 'yaml';
import { editDocument, READING } from './edit-document.ts';
import type { Json } from './json.ts';
import { diffJson } from './json-patch.ts';
import type { Note } from './workloads.ts';

/** A manifest that is not valid YAML or cannot be edited. The message names the file and the line. */
export class ManifestError extends Error {}

/** More aliases than any manifest has, and fewer than it takes to exhaust the memory. */
const MAX_ALIASES = 1000;

export type ManifestChange = (manifest: Json) => { manifest: Json; notes: Note[] };

/** The manifests of a text. */
export interface ManifestStream {
  readonly manifests: readonly Json[];
  /** Changes each manifest. A document that does not change keeps every byte. @throws {ManifestError} */
  change(change: ManifestChange): { text: string; notes: Note[] };
}

/**
 * Reads the documents of a YAML or JSON text.
 * @param name the file's name, for messages
 * @throws {ManifestError}
 */
export function readStream(text: string, name: string): ManifestStream {
  const lineCounter = new LineCounter();
  const documents: Document.Parsed[] = parseAllDocuments(text, { ...READING, lineCounter });
  const read = documents.map((document) => {
    const place = `${name}:${lineCounter.linePos(document.range[0]).line}`;
    return { document, place, manifest: readDocument(document, name, place) };
  });
  return {
    manifests: read.flatMap(({ manifest }) => manifest ?? []),
    change: (change) => changeDocuments(text, read, change),
  };
}

interface ReadDocument {
  readonly document: Document.Parsed;
  readonly place: string;
  /** Undefined for an empty document. */
  readonly manifest: Json | undefined;
}

function changeDocuments(text: string, documents: readonly ReadDocument[], change: ManifestChange) {
  const notes: Note[] = [];
  let position = 0;
  const changed = documents.map(({ document, place, manifest: before }, index) => {
    const [, , end] = document.range;
    const source = text.slice(position, index === documents.length - 1 ? text.length : end);
    position = end;
    if (before === undefined) return source;
    const { manifest, notes: more } = change(before);
    notes.push(...more);
    const operations = diffJson(before, manifest);
    const edited = operations.length === 0 ? source : editDocument({ document, text, source }, operations, manifest);
    if (edited === undefined) {
      throw new ManifestError(
        `${place}: this document cannot be changed: replace its aliases and merge keys by copies`,
      );
    }
    return edited;
  });
  return { text: documents.length === 0 ? text : changed.join(''), notes };
}

/** @returns undefined for an empty document */
function readDocument(document: Document.Parsed, name: string, place: string): Json | undefined {
  const [error] = document.errors;
  if (error !== undefined) {
    const { line = 1, col = 1 } = error.linePos?.[0] ?? {};
    const [message = ''] = error.message.split('\n');
    throw new ManifestError(`${name}:${line}:${col}: ${message.replace(/ at line \d+, column \d+:?$/, '')}`);
  }
  try {
    return (document.toJS({ maxAliasCount: MAX_ALIASES }) as Json) ?? undefined;
  } catch {
    throw new ManifestError(`${place}: an alias in this document is unknown or expands to too much`);
  }
}
