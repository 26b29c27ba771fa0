import { createHash } from 'node:crypto';
import { isNode, parseDocument } from 'yaml';
import { endOf } from './collection-items.ts';
import { type Correction, findCorrections, MAX_RECORD, spaceOf } from './corrections.ts';
import { READING } from './edit-document.ts';
import type { Json, Path } from './json.ts';
import { readStatus, writeStatus } from './status.ts';
import { changeManifest, type PodChange } from './workloads.ts';

/**
 * The corrections of a text in all statuses of its manifest, in the order of the text. Those of another text are ignored: after
 * an edit, an offset leads to another place.
 */
export function correctionsIn(manifest: Json, text: string): Correction[] | undefined {
  const found: Correction[] = [];
  let digest: string | undefined;
  changeManifest(manifest, (template, layout) => {
    const status = readStatus(template, layout);
    if (status !== 'invalid' && status?.corrections !== undefined) {
      digest ??= digestOf(text, injectedIn(manifest));
      // In a loop, because a forged status may have more corrections than a call has arguments.
      if (status.digest === digest) for (const correction of status.corrections) found.push(correction);
    }
    return { template, outcome: 'unchanged', reasons: [] };
  });
  return found.length === 0 ? undefined : found.sort(([left], [right]) => left - right);
}

/**
 * Records what turns a text into the original.
 * @returns undefined if that takes too much space, or belongs to no pod
 */
export function recordDifference(manifest: Json, text: string, original: string): Json | undefined {
  const space = MAX_RECORD * injectedIn(manifest).length;
  const corrections = findCorrections(text, original, space);
  return corrections && recordCorrections(manifest, corrections, { text, original });
}

/**
 * Writes each correction into the status of the pod whose text it restores. A List may contain Secrets and other pods beside
 * it: no letter or digit of theirs gets into its annotation.
 * @param texts the text that the corrections apply to, and the one that they restore
 * @returns undefined if a correction restores letters or digits that belong to no pod, or those of a pod take too much space
 */
export function recordCorrections(
  manifest: Json,
  corrections: readonly Correction[],
  { text, original }: { readonly text: string; readonly original: string },
): Json | undefined {
  const document = parseDocument(original, READING);
  const left = new Set(placesOf(corrections));
  const records = new Map<string, Correction[]>();
  for (const path of injectedIn(manifest)) {
    const [from, to] = path.length === 0 ? [0, original.length] : rangeOf(document.getIn(path, true));
    const own = [...left].filter(({ start, end }) => start >= from && end <= to);
    for (const one of own) left.delete(one);
    const record = own.map(({ correction }) => correction);
    records.set(path.join('/'), record);
  }
  const [first] = records.values();
  for (const { correction } of left) {
    if (first === undefined || /[\p{L}\p{N}]/u.test(correction[2])) return undefined;
    first.push(correction);
  }
  const isSmall = [...records.values()].every((record) => spaceOf(record) <= MAX_RECORD);
  return isSmall ? writeRecords(manifest, records, digestOf(text, injectedIn(manifest))) : undefined;
}

/** The paths of the objects whose pods are injected. */
function injectedIn(manifest: Json): Path[] {
  const found: Path[] = [];
  changeManifest(manifest, (template, layout, _, path) => {
    const status = readStatus(template, layout);
    if (status !== undefined && status !== 'invalid') found.push(path);
    return { template, outcome: 'unchanged', reasons: [] };
  });
  return found;
}

function writeRecords(manifest: Json, records: ReadonlyMap<string, readonly Correction[]>, digest: string): Json {
  const change: PodChange = (template, layout, _, path) => {
    const status = readStatus(template, layout);
    const own = records.get(path.join('/'));
    if (own === undefined || status === undefined || status === 'invalid') {
      return { template, outcome: 'unchanged', reasons: [] };
    }
    const record =
      own.length === 0
        ? { corrections: undefined, digest: undefined }
        : { corrections: own.map(([...correction]) => correction), digest };
    return { template: writeStatus(template, layout, { ...status, ...record }), outcome: 'injected', reasons: [] };
  };
  return changeManifest(manifest, change).manifest;
}

/**
 * Identifies a text without its injections. Outside the injected objects, only the white space counts: a guess at a Secret
 * cannot be checked against the digest.
 * @param injected the paths of the injected objects, in the order of the text
 */
function digestOf(text: string, injected: readonly Path[]): string {
  const hash = createHash('sha256');
  const document = injected.some((path) => path.length > 0) ? parseDocument(text, READING) : undefined;
  let position = 0;
  for (const path of injected) {
    const [from, to] = path.length === 0 ? [0, text.length] : rangeOf(document?.getIn(path, true));
    if (from < position || to < from) continue;
    hash.update(masked(text.slice(position, from))).update(text.slice(from, to));
    position = to;
  }
  return hash
    .update(masked(text.slice(position)))
    .digest('hex')
    .slice(0, DIGEST_LENGTH);
}

/** Enough to tell texts apart. Anyone who can forge a digest can write the corrections as well. */
const DIGEST_LENGTH = 16;

function masked(text: string): string {
  return text.replace(/\S/g, 'x');
}

/** Corrections, and where the text that they restore is in the original. */
function placesOf(corrections: readonly Correction[]) {
  let shift = 0;
  return corrections.map((correction) => {
    const [offset, removed, added] = correction;
    const start = offset + shift;
    shift += added.length - removed;
    return { correction, start, end: start + added.length };
  });
}

/** The place of an object in a text. Nothing is inside the place of a node that does not exist. */
function rangeOf(node: unknown): readonly [number, number] {
  return isNode(node) && node.range ? [node.range[0], endOf(node)] : [0, -1];
}
