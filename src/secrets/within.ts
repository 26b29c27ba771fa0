import { constants } from 'node:fs';
import { type FileHandle, open, realpath, stat } from 'node:fs/promises';
import { sep } from 'node:path';

/** Without O_NONBLOCK, opening a pipe blocks one of Node's few threads until a writer comes. Windows has no such flag. */
export const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/** A file may be replaced while it is being opened. Kubernetes replaces those of a volume about once a minute. */
const ATTEMPTS = 3;

/**
 * Opens a file, whatever links lead to it within these folders. A link may change at any time, so the place of the open file counts.
 * @throws {Error} also where a link leads out of the folders
 */
export async function openWithin(file: string, folders: readonly string[]): Promise<FileHandle> {
  for (let attempt = 1; ; attempt += 1) {
    const handle = await open(file, OPEN_FLAGS);
    try {
      const real = await placeWithin(file, folders);
      if (real === undefined) throw new Error('is a link that leads out of its folder: replace it by the file itself');
      const [opened, found] = await Promise.all([handle.stat({ bigint: true }), stat(real, { bigint: true })]);
      if (opened.ino === found.ino && opened.dev === found.dev) return handle;
      throw new Error('keeps changing: write it less often');
    } catch (error) {
      await handle.close();
      if (attempt === ATTEMPTS) throw error;
    }
  }
}

/** The path without links. Undefined where it is outside the folders. @throws {Error} from the file system */
export async function placeWithin(file: string, folders: readonly string[]): Promise<string | undefined> {
  const real = await realpath(file);
  const roots = await Promise.all(folders.map((folder) => realpath(folder).catch(() => undefined)));
  return roots.some((root) => root !== undefined && real.startsWith(`${root}${sep}`)) ? real : undefined;
}

/** Reads one byte more than the limit, to detect a larger file. */
export async function readStart(handle: FileHandle, limitBytes: number): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(limitBytes + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}
