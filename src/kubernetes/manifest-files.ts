import { readFile } from 'node:fs/promises';
import { arrayBuffer } from 'node:stream/consumers';
import { errorCode } from '../errors.ts';
import { getIn, type Json, textOf as stringOf } from './json.ts';
import { type ChangedStream, ManifestError, type ManifestStream, readStream, textOf } from './manifest-stream.ts';
import type { Note } from './workloads.ts';

/** Marks the ConfigMap that `inject --config` prints before the manifests. */
export const PRINTED = { 'cambist.dev/printed-by': 'inject' } as const;

const [[MARK, INJECT]] = Object.entries(PRINTED) as [[string, string]];

/** Ends a document whose successor has a marker of its own, so that a removal knows which marker to take along. */
const END = '...\n';
const START = '---\n';
const BYTE_ORDER_MARK = '\uFEFF';

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
  prepare: (manifests: readonly Json[]) => (stream: ManifestStream) => ChangedStream,
  { dropsPrinted = false } = {},
): Promise<{ text: string; notes: Note[] }> {
  const streams: ManifestStream[] = [];
  const dropped: Note[] = [];
  for (const file of files) {
    const name = file === '-' ? 'standard input' : file;
    const given = await read(file, name);
    const { text, notes } = dropsPrinted ? removePrinted(given, name) : { text: given, notes: [] };
    dropped.push(...notes);
    streams.push(readStream(text, name));
  }
  const change = prepare(streams.flatMap(({ manifests }) => manifests));
  const changed = streams.map(change);
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
