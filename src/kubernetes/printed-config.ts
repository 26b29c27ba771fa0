import { getIn, type Json, textOf as stringOf } from './json.ts';
import { readStream } from './manifest-stream.ts';
import type { Note } from './workloads.ts';

/** Marks the ConfigMap that `inject --config` prints before the manifests. */
export const PRINTED = { 'cambist.dev/printed-by': 'inject' } as const;

const [[MARK, INJECT]] = Object.entries(PRINTED) as [[string, string]];

/** Ends a document whose successor has a marker of its own, so that a removal knows which marker to take along. */
const END = '...\n';
const START = '---\n';

/** Puts the ConfigMaps before a stream. */
export function joinPrinted(configMaps: string, text: string): string {
  if (configMaps === '') return text;
  return configMaps + (/^(?:---|%)/.test(text) ? END : START) + text;
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
    return '';
  });
  return { text: kept.join(''), notes };
}

function isPrinted(manifest: Json | undefined): boolean {
  return getIn(manifest, ['kind']) === 'ConfigMap' && getIn(manifest, ['metadata', 'annotations', MARK]) === INJECT;
}
