import { applyCorrections, type Correction, findCorrections } from './corrections.ts';
import { agreeForKubectl, contains } from './edit-document.ts';
import { getIn, type Json, sameJson } from './json.ts';
import {
  type ChangedDocument,
  type ChangedStream,
  type ManifestChange,
  type ManifestStream,
  readStream,
  textOf,
} from './manifest-stream.ts';
import { uninjectPod } from './pod-restoration.ts';
import { readStatus, STATUS_ANNOTATION, writeStatus } from './status.ts';
import { changeManifest, type Note, type PodChange } from './workloads.ts';

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
 * not, because a list was `[ ]` before, for example, the annotation with the status records the difference.
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
    const corrections = findCorrections(document.text, original);
    return recordCorrections(
      after,
      corrections !== undefined && mayRecord(after, corrections) ? corrections : undefined,
    );
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
  const isExact = restored.length === originals.length && restored.every((text, index) => text === originals[index]);
  return { ...written, notes: [...changed.notes, ...(isExact ? [] : [inexact(name)])] };
}

/** A List may contain Secrets beside the pods, in any form. No letter or digit of theirs gets into the annotation of a pod. */
function mayRecord(manifest: Json, corrections: readonly Correction[]): boolean {
  const isList = getIn(manifest, ['items']) !== undefined;
  return !isList || !corrections.some(([, , added]) => /[\p{L}\p{N}]/u.test(added));
}

function inexact(object: string): Note {
  return {
    object,
    outcome: 'injected',
    reasons: ['uninject will restore its content, but not all of its white space'],
  };
}

/** The texts without the injections that the stream may have already. */
function originalTexts(stream: ManifestStream, changed: ChangedStream): string[] {
  if (!stream.text.includes(STATUS_ANNOTATION)) return changed.documents.map(({ source }) => source);
  return restoreStream(readStream(stream.text, stream.name)).documents.map(({ text }) => text);
}

function removeInjections(stream: ManifestStream): ChangedStream {
  return stream.change((manifest) => changeManifest(manifest, uninjectPod));
}

/** Corrections change the form of a text. Those that would change its content have no effect: anyone can write the annotation. */
function correctedText({ before, after, text }: ChangedDocument): string {
  const corrections = before === undefined || after === undefined ? undefined : correctionsIn(before);
  const corrected = corrections && applyCorrections(text, corrections);
  if (corrected === undefined || after === undefined) return text;
  return contains(corrected, after) && agreeForKubectl(corrected, text) ? corrected : text;
}

function correctionsIn(manifest: Json): readonly Correction[] | undefined {
  let found: readonly Correction[] | undefined;
  changeManifest(manifest, (template, layout) => {
    const status = readStatus(template, layout);
    if (status !== undefined && status !== 'invalid') found ??= status.corrections;
    return { template, outcome: 'unchanged', reasons: [] };
  });
  return found;
}

/** Writes corrections into the first status of a manifest. */
function recordCorrections(manifest: Json, corrections: readonly Correction[] | undefined): Json {
  let isWritten = corrections === undefined;
  const change: PodChange = (template, layout) => {
    const status = readStatus(template, layout);
    if (isWritten || status === undefined || status === 'invalid') {
      return { template, outcome: 'unchanged', reasons: [] };
    }
    isWritten = true;
    const next = { ...status, corrections: corrections?.map(([...correction]) => correction) };
    return { template: writeStatus(template, layout, next), outcome: 'injected', reasons: [] };
  };
  return changeManifest(manifest, change).manifest;
}
