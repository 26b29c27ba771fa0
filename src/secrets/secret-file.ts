import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { Secret } from './secret.ts';

/** Largest secret, key or token file that is read; a certificate chain fits well within. */
export const MAX_SECRET_BYTES = 256 * 1024;
/** Else opening a pipe waits for who writes to it, and holds one of Node's few threads. Windows has no such flag. */
const OPEN_AT_ONCE = constants.O_RDONLY | (constants.O_NONBLOCK ?? 0);
/**
 * Two changes within one tick of a file system's clock leave a file with the same times, and on FAT a tick is two seconds. So
 * what was read this soon after a change may have been changed once more since, and no look at the file would tell.
 */
const SETTLED_MS = 3000;
/** A network file system may answer a look from its memory; it asks the server when a file is opened, so one is, this often. */
const REMEMBERED_MS = 1000;

/** What a file holds, less the line ends after it, or why that is no secret. */
export type SecretFile = Secret | 'not_a_file' | 'too_large';

/**
 * Says what a file holds when it is asked; the same `Secret` as before where the file has not changed since.
 * @throws {Error} the file system's, where the file cannot be read
 */
export type SecretFiles = (file: string) => Promise<SecretFile>;

interface Remembered {
  readonly stats: BigIntStats;
  readonly secret: Secret;
}

/** @param wallMs the clock that changes of files are stamped by */
export function createSecretFiles(wallMs: () => number = Date.now): SecretFiles {
  const remembered = new Map<string, Remembered>();
  const lookingAt = new Map<string, Promise<SecretFile>>();

  async function look(file: string): Promise<SecretFile> {
    const known = remembered.get(file);
    if (known !== undefined && (await isUnchanged(file, known.stats))) return known.secret;
    remembered.delete(file);
    const handle = await open(file, OPEN_AT_ONCE);
    try {
      return await read(file, handle);
    } finally {
      await handle.close();
    }
  }

  async function read(file: string, handle: FileHandle): Promise<SecretFile> {
    const nowMs = wallMs();
    const stats = await handle.stat({ bigint: true });
    // A device or a pipe has no end, or never begins.
    if (!stats.isFile()) return 'not_a_file';
    const content = await readStart(handle);
    if (content.length > MAX_SECRET_BYTES) return 'too_large';
    const secret = new Secret(content.toString('utf8').replace(/[\r\n]+$/, ''));
    if (changedAtMs(stats) + SETTLED_MS <= nowMs) remember(file, { stats, secret });
    return secret;
  }

  function remember(file: string, found: Remembered): void {
    remembered.set(file, found);
    // Where it was read once more meanwhile that is forgotten too soon, which does no harm.
    setTimeout(() => remembered.delete(file), REMEMBERED_MS).unref();
  }

  return (file) => {
    let looking = lookingAt.get(file);
    if (looking === undefined) {
      // All who ask in one turn of the event loop share a look, which begins when the last of them has asked.
      looking = endOfTurn().then(() => {
        lookingAt.delete(file);
        return look(file);
      });
      lookingAt.set(file, looking);
    }
    return looking;
  };
}

/** False also where it cannot be looked at: opening it says why. */
async function isUnchanged(file: string, before: BigIntStats): Promise<boolean> {
  const now = await stat(file, { bigint: true }).catch(() => undefined);
  return (
    now !== undefined &&
    now.mtimeNs === before.mtimeNs &&
    now.ctimeNs === before.ctimeNs &&
    now.ino === before.ino &&
    now.size === before.size &&
    now.dev === before.dev
  );
}

function changedAtMs({ mtimeMs, ctimeMs }: BigIntStats): number {
  return Number(mtimeMs > ctimeMs ? mtimeMs : ctimeMs);
}

/** Up to a byte more than is allowed. */
async function readStart(handle: FileHandle): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(MAX_SECRET_BYTES + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}
