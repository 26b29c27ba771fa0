import { readFile } from 'node:fs/promises';
import { text as textOfStream } from 'node:stream/consumers';
import type { Json } from './json.ts';
import { type ManifestChange, ManifestError, type ManifestStream, readStream } from './manifest-stream.ts';
import type { Note } from './workloads.ts';

/**
 * Changes the manifests in files and joins them into one text. The file `-` is standard input.
 * @param prepare called with all manifests, before the first is changed
 * @throws {ManifestError}
 */
export async function changeFiles(
  files: readonly string[],
  prepare: (manifests: readonly Json[]) => ManifestChange,
): Promise<{ text: string; notes: Note[] }> {
  const streams: ManifestStream[] = [];
  for (const file of files) {
    const name = file === '-' ? 'standard input' : file;
    streams.push(readStream(await read(file, name), name));
  }
  const change = prepare(streams.flatMap(({ manifests }) => manifests));
  const changed = streams.map((stream) => stream.change(change));
  return {
    text: changed.map(({ text }) => text).reduce(joinManifests, ''),
    notes: changed.flatMap(({ notes }) => notes),
  };
}

async function read(file: string, name: string): Promise<string> {
  try {
    return file === '-' ? await textOfStream(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown reason';
    throw new ManifestError(`${name}: ${code === 'ENOENT' ? 'no such file' : `cannot be read: ${code}`}`);
  }
}

/** Joins two streams of documents. */
export function joinManifests(before: string, next: string): string {
  if (before === '') return next;
  const ended = before.endsWith('\n') ? before : `${before}\n`;
  return next.startsWith('---') ? ended + next : `${ended}---\n${next}`;
}
