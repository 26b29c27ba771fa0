import { constants } from 'node:fs';
import { type FileHandle, open, readlink, realpath } from 'node:fs/promises';
import { sep } from 'node:path';

/** Without O_NONBLOCK, opening a pipe blocks one of Node's few threads until a writer comes. Windows has no such flag. */
export const OPEN_FLAGS = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);

/**
 * Opens a file, whatever links lead to it within these folders. A link may change at any time, so the place of the open file counts.
 * @throws {Error} also where a link leads out of the folders
 */
export async function openWithin(file: string, folders: readonly string[]): Promise<FileHandle> {
  const handle = await open(file, OPEN_FLAGS);
  try {
    if (!(await isWithin(await placeOf(handle, file), folders))) {
      throw new Error('is a link that leads out of its folder: replace it by the file itself');
    }
    // A hard link is in the folder, also one to a file elsewhere.
    const found = await handle.stat();
    if (found.isFile() && found.nlink > 1) throw new Error('has several hard links: replace it by a copy');
    return handle;
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Only Linux tells the place of an open file. Elsewhere, a link that changes at this moment goes unnoticed. */
function placeOf({ fd }: FileHandle, file: string): Promise<string> {
  return process.platform === 'linux' ? readlink(`/proc/self/fd/${fd}`) : realpath(file);
}

/** Is a path without links in one of the folders? */
async function isWithin(path: string, folders: readonly string[]): Promise<boolean> {
  const roots = await Promise.all(folders.map((folder) => realpath(folder).catch(() => undefined)));
  return roots.some((root) => root !== undefined && path.startsWith(`${root}${sep}`));
}

/** Does a link lead out of the folders? @throws {Error} from the file system */
export async function leadsOut(file: string, folders: readonly string[]): Promise<boolean> {
  return !(await isWithin(await realpath(file), folders));
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
