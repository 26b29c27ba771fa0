import { correctionsIn, recordDifference } from './correction-records.ts';
import { applyCorrections, isPrintable } from './corrections.ts';
import { contains } from './edit-document.ts';
import { sameJson } from './json.ts';
import {
  type ChangedDocument,
  type ChangedStream,
  type ManifestChange,
  type ManifestStream,
  readStream,
  textOf,
} from './manifest-stream.ts';
import { uninjectPod } from './pod-restoration.ts';
import { readsAlike } from './reads-alike.ts';
import { STATUS_ANNOTATION } from './status.ts';
import { changeManifest, type Note } from './workloads.ts';

const MARKER = '---\n';

/** Removes the injections of a stream, and restores the text of each document. */
export function restoreStream(stream: ManifestStream): ChangedStream {
  const { documents, notes } = removeInjections(stream);
  const corrected = documents.map((document) => ({ ...document, text: correctedText(document) }));
  const isCorrected = corrected.some(({ text }, index) => text !== documents[index]?.text);
  return { documents: isCorrected && isStillSplit(corrected, stream.name) ? corrected : documents, notes };
}

/** A correction could remove the line between two documents, and so join them. */
function isStillSplit(documents: readonly ChangedDocument[], name: string): boolean {
  try {
    const { manifests } = readStream(textOf({ documents, notes: [] }), name);
    return sameJson(
      manifests,
      documents.flatMap(({ after }) => after ?? []),
    );
  } catch {
    return false;
  }
}

/**
 * Injects into a stream so that `restoreStream` gives every byte back. Usually the removal of the added lines does. Where it does
 * not, because a list was `[ ]` before, for example, the annotation with the status records the difference. A document for which
 * that is impossible is refused.
 */
export function injectStream(stream: ManifestStream, change: ManifestChange): ChangedStream {
  const { name } = stream;
  const changed = stream.change(change);
  const originals = originalTexts(stream, changed);
  const removed = removeInjections(readStream(textOf(changed), name)).documents;
  const recorded = changed.documents.map(({ after }, index) => {
    const [document, original] = [removed[index], originals[index]];
    if (after === undefined || document === undefined || original === undefined) return after;
    if (correctedText(document) === original) return after;
    return recordDifference(after, divide(document.text).content, divide(original).content) ?? after;
  });
  const isUnchanged = recorded.every((manifest, index) => manifest === changed.documents[index]?.after);
  const written = isUnchanged
    ? changed
    : readStream(stream.text, name).change((manifest, index) => {
        return { manifest: recorded[index] ?? manifest, notes: [] };
      });
  const restored = isUnchanged
    ? removed.map(correctedText)
    : restoreStream(readStream(textOf(written), name)).documents.map(({ text }) => text);
  const refused = Array.from({ length: Math.max(originals.length, restored.length) }, (_, index) => {
    const [original = '', text = ''] = [originals[index], restored[index]];
    return original === text ? [] : [refusal(stream, written, index, firstDifference(original, text))];
  });
  return { ...written, notes: [...changed.notes, ...refused.flat()] };
}

/** @param offset of the difference in the document without an injection */
function refusal({ name, text }: ManifestStream, { documents }: ChangedStream, index: number, offset: number): Note {
  const start = documents.slice(0, index).reduce((length, { source }) => length + source.length, 0);
  // The lines of an injection that the document has already are not counted in the offset.
  const place = start + (text.includes(STATUS_ANNOTATION) ? 0 : offset);
  return {
    object: `${name}:${text.slice(0, place).split('\n').length}`,
    outcome: 'refused',
    reasons: ['uninject could not restore this line: write numbers in decimal, long values on one line, and no tags'],
  };
}

function firstDifference(left: string, right: string): number {
  let offset = 0;
  while (offset < left.length && left[offset] === right[offset]) offset += 1;
  return offset;
}

/** The texts without the injections that the stream may have already. */
function originalTexts(stream: ManifestStream, changed: ChangedStream): string[] {
  if (!stream.text.includes(STATUS_ANNOTATION)) return changed.documents.map(({ source }) => source);
  return restoreStream(readStream(stream.text, stream.name)).documents.map(({ text }) => text);
}

function removeInjections(stream: ManifestStream): ChangedStream {
  return stream.change((manifest) => changeManifest(manifest, uninjectPod));
}

/** Corrections change the form of their text. Those that would change its content have no effect: anyone can write the annotation. */
function correctedText({ before, after, text }: ChangedDocument): string {
  const { marker, content, end } = divide(text);
  const corrections = before === undefined || after === undefined ? undefined : correctionsIn(before, content);
  const own = corrections?.every(isPrintable) ? applyCorrections(content, corrections) : undefined;
  if (own === undefined || after === undefined) return text;
  const corrected = marker + own + end;
  return contains(corrected, after) && readsAlike(corrected, text) ? corrected : text;
}

/** Files that are joined get a marker between them, and the first one a line break. Corrections are therefore of the text between. */
function divide(text: string) {
  const marker = text.startsWith(MARKER) ? MARKER : '';
  const end = text.endsWith('\n') ? '\n' : '';
  return { marker, content: text.slice(marker.length, text.length - end.length), end };
}
