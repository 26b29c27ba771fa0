import { readFile } from 'node:fs/promises';
import { arrayBuffer } from 'node:stream/consumers';
import { errorCode } from '../errors.ts';
import type { Json } from './json.ts';
import { type ChangedStream, ManifestError, type ManifestStream, readStream, textOf } from './manifest-stream.ts';
import { joinStreams, removePrinted } from './printed-config.ts';
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
