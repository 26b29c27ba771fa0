import { isNode, parseDocument } from 'yaml';
import { endOf } from './collection-items.ts';
import type { Correction } from './corrections.ts';
import { READING } from './edit-document.ts';
import type { Json, JsonObject } from './json.ts';
import type { PodLayout } from './pod-layout.ts';
import { readStatus, writeStatus } from './status.ts';
import { changeManifest, type PodChange } from './workloads.ts';

/** The corrections in all statuses of a manifest, in the order of the text. */
export function correctionsIn(manifest: Json): Correction[] | undefined {
  const found: Correction[] = [];
  changeManifest(manifest, (template, layout) => {
    const status = readStatus(template, layout);
    if (status !== undefined && status !== 'invalid') found.push(...(status.corrections ?? []));
    return { template, outcome: 'unchanged', reasons: [] };
  });
  return found.length === 0 ? undefined : found.sort(([left], [right]) => left - right);
}

/**
 * Writes each correction into the status of the pod whose text it restores. A List may contain Secrets and other pods beside
 * it: no letter or digit of theirs gets into its annotation.
 * @param original the text that the corrections restore
 * @returns undefined if a correction restores letters or digits that belong to no pod
 */
export function recordCorrections(
  manifest: Json,
  corrections: readonly Correction[],
  original: string,
): Json | undefined {
  const document = parseDocument(original, READING);
  const left = new Set(placesOf(corrections));
  const records = new Map<string, Correction[]>();
  changeManifest(manifest, (template, layout, _, path) => {
    const [from, to] = path.length === 0 ? [0, original.length] : rangeOf(document.getIn(path, true));
    const own = isInjected(template, layout) ? [...left].filter(({ start, end }) => start >= from && end <= to) : [];
    for (const one of own) left.delete(one);
    if (isInjected(template, layout))
      records.set(
        path.join('/'),
        own.map(({ correction }) => correction),
      );
    return { template, outcome: 'unchanged', reasons: [] };
  });
  const [first] = records.values();
  for (const { correction } of left) {
    if (first === undefined || /[\p{L}\p{N}]/u.test(correction[2])) return undefined;
    first.push(correction);
  }
  return writeRecords(manifest, records);
}

function writeRecords(manifest: Json, records: ReadonlyMap<string, readonly Correction[]>): Json {
  const change: PodChange = (template, layout, _, path) => {
    const status = readStatus(template, layout);
    const own = records.get(path.join('/'));
    if (own === undefined || status === undefined || status === 'invalid') {
      return { template, outcome: 'unchanged', reasons: [] };
    }
    const corrections = own.length === 0 ? undefined : own.map(([...correction]) => correction);
    return { template: writeStatus(template, layout, { ...status, corrections }), outcome: 'injected', reasons: [] };
  };
  return changeManifest(manifest, change).manifest;
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

function isInjected(template: JsonObject, layout: PodLayout): boolean {
  const status = readStatus(template, layout);
  return status !== undefined && status !== 'invalid';
}
