import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import type { Json } from './json.ts';
import { type ChangedStream, ManifestError, type ManifestStream, readStream, textOf } from './manifest-stream.ts';
import { removePrinted } from './printed-config.ts';
import type { Note } from './workloads.ts';

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
    text: changed.map(textOf).reduce(joinManifests, ''),
    notes: [...dropped, ...changed.flatMap(({ notes }) => notes)],
  };
}

async function read(file: string, name: string): Promise<string> {
  try {
    return file === '-' ? await readAll(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason';
    throw new ManifestError(`${name}: ${code === 'ENOENT' ? 'no such file' : `cannot be read: ${code}`}`);
  }
}

/** Joins two streams of documents. */
function joinManifests(before: string, next: string): string {
  if (before === '') return next;
  const ended = before.endsWith('\n') ? before : `${before}\n`;
  return next.startsWith('---') ? ended + next : `${ended}---\n${next}`;
}
