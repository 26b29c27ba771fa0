import type { BigIntStats } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { setImmediate as endOfTurn } from 'node:timers/promises';
import { type Clock, systemClock } from '../clock/clock.ts';
import { Secret } from './secret.ts';
import { OPEN_FLAGS, openWithin, readStart } from './within.ts';

/** Largest file of a secret, key or token. A certificate chain is much smaller. */
export const MAX_SECRET_BYTES = 256 * 1024;
/**
 * Two changes within one tick of the file system's clock give a file the same times, and a tick of FAT is two seconds. A file
 * that changed more recently than this is therefore read at each use.
 */
const SETTLED_MS = 3000;
/** A network file system may serve `stat` from its cache, but asks the server on `open`. So files are opened this often. */
const REMEMBERED_MS = 1000;
/** A check of a file stays valid for this time. A check at each exchange took a tenth of its CPU, in a thread of libuv. */
const CHECKED_MS = 100;

/** The content of a file without trailing line ends, as it was at most a tenth of a second ago, or the reason why it has no usable content. */
export type SecretFile = Secret | 'not_a_file' | 'too_large';

/**
 * Reads the content of a file. Returns the same `Secret` object while the file is unchanged, and synchronously after a recent check.
 * @param within folders that no link may lead out of
 * @throws {Error} from the file system, if the file cannot be read
 */
export type ReadSecretFile = (
  file: string,
  mustCheck?: boolean,
  within?: readonly string[],
) => Secret | Promise<SecretFile>;

interface Remembered {
  readonly stats: BigIntStats;
  readonly secret: Secret;
  checkedAtMs: number;
}

/** @param clock its wall time is that of the file times */
export function createSecretFileReader(clock: Clock = systemClock): ReadSecretFile {
  const remembered = new Map<string, Remembered>();
  const pending = new Map<string, Promise<SecretFile>>();

  async function load(file: string, within: readonly string[] | undefined, key: string): Promise<SecretFile> {
    const known = remembered.get(key);
    const checkedAtMs = clock.monotonicMs();
    if (known !== undefined && (await isUnchanged(file, known.stats))) {
      known.checkedAtMs = checkedAtMs;
      return known.secret;
    }
    remembered.delete(key);
    const handle = within === undefined ? await open(file, OPEN_FLAGS) : await openWithin(file, within);
    try {
      return await read(key, handle);
    } finally {
      await handle.close();
    }
  }

  async function read(key: string, handle: FileHandle): Promise<SecretFile> {
    const nowMs = clock.wallMs();
    const checkedAtMs = clock.monotonicMs();
    const stats = await handle.stat({ bigint: true });
    // Reading a device or a pipe may never end.
    if (!stats.isFile()) return 'not_a_file';
    const content = await readStart(handle, MAX_SECRET_BYTES);
    if (content.length > MAX_SECRET_BYTES) return 'too_large';
    const secret = new Secret(content.toString('utf8').replace(/(?<![\r\n])[\r\n]+$/, ''));
    if (changedAtMs(stats) + SETTLED_MS <= nowMs) {
      remembered.set(key, { stats, secret, checkedAtMs });
      // This may forget a later read too early, which is harmless.
      setTimeout(() => remembered.delete(key), REMEMBERED_MS).unref();
    }
    return secret;
  }

  return (file, mustCheck = false, within = undefined) => {
    const key = within === undefined ? file : JSON.stringify([file, within]);
    const known = remembered.get(key);
    if (!mustCheck && known !== undefined && clock.monotonicMs() < known.checkedAtMs + CHECKED_MS) return known.secret;
    let loading = pending.get(key);
    if (loading === undefined) {
      // Calls in one turn of the event loop share a read, which starts after the last of them.
      loading = endOfTurn().then(() => {
        pending.delete(key);
        return load(file, within, key);
      });
      pending.set(key, loading);
    }
    return loading;
  };
}

/** False also on an error, which opening the file then reports. */
async function isUnchanged(file: string, before: BigIntStats): Promise<boolean> {
  const now = await stat(file, { bigint: true }).catch(() => undefined);
  return (['mtimeNs', 'ctimeNs', 'ino', 'size', 'dev'] as const).every((fact) => now?.[fact] === before[fact]);
}

function changedAtMs({ mtimeMs, ctimeMs }: BigIntStats): number {
  return Number(mtimeMs > ctimeMs ? mtimeMs : ctimeMs);
}
