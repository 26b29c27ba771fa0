import { createHash } from 'node:crypto';
import { type FSWatcher, watch } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The part of the logger that a watcher needs. */
interface WatchLogger {
  warn(fields: { readonly err: unknown }, message: string): void;
}

export interface WatchOptions {
  /** The files to watch now; asked anew at each look, so that a reload may change them. */
  readonly files: () => readonly string[];
  /** Called once for any number of files whose content changed, came or went. */
  readonly onChange: () => void;
  /** How often to look even when nothing was heard; default 10 s. */
  readonly pollMs?: number;
  readonly logger: WatchLogger;
}

const DEFAULT_POLL_MS = 10_000;

/** One save or one ConfigMap swap makes a handful of events. */
const DEBOUNCE_MS = 100;

/** A larger file is no config, key or certificate: its size and time must do. */
const MAX_DIGESTED_BYTES = 8 * 1024 * 1024;

interface WatchedFolder {
  readonly watcher: FSWatcher;
  /** A folder that was removed and made anew has another, and the old watcher hears nothing of it. */
  readonly inode: number;
}

/** Files that are watched. */
export interface FileWatcher {
  /** Looks for changes now. Settles when it has, and `onChange` has been called if there are any. */
  look(): Promise<void>;
  close(): void;
}

/**
 * Watches files by the folders that hold them: Kubernetes swaps a `..data` link and editors rename over, and neither
 * touches the file that was there. It polls as well, since not every file system tells. Keeps no process alive.
 */
export function watchFiles({ files, onChange, pollMs = DEFAULT_POLL_MS, logger }: WatchOptions): FileWatcher {
  const folders = new Map<string, WatchedFolder>();
  const known = new Map<string, string>();
  /** Said once: each look tries again. */
  const unwatchable = new Set<string>();
  let closed = false;
  let soon: NodeJS.Timeout | undefined;
  let looking = Promise.resolve();

  function lookSoon() {
    soon ??= setTimeout(lookNow, DEBOUNCE_MS).unref();
  }

  function lookNow(): Promise<void> {
    clearTimeout(soon);
    soon = undefined;
    looking = looking.then(look).catch((error: unknown) => {
      logger.warn({ err: error }, 'a look for changed files failed: the next one is due soon');
    });
    return looking;
  }

  async function look() {
    const current = new Set(files());
    await followFolders(new Set([...current].map((file) => dirname(file))));
    let changed = false;
    for (const file of current) {
      const state = await contentOf(file);
      const before = known.get(file);
      known.set(file, state);
      changed ||= before !== undefined && before !== state;
    }
    for (const file of known.keys()) if (!current.has(file)) known.delete(file);
    if (changed && !closed) onChange();
  }

  async function followFolders(current: ReadonlySet<string>) {
    for (const folder of folders.keys()) if (!current.has(folder)) leave(folder);
    for (const folder of current) {
      const inode = await stat(folder).then(
        ({ ino }) => ino,
        () => undefined,
      );
      if (folders.get(folder)?.inode === inode) continue;
      leave(folder);
      if (inode !== undefined && !closed) follow(folder, inode);
    }
  }

  function follow(folder: string, inode: number) {
    const fail = (error: unknown) => {
      leave(folder);
      if (unwatchable.has(folder)) return;
      unwatchable.add(folder);
      logger.warn(
        { err: error },
        `folder "${folder}" cannot be watched: changes in it are seen up to ${pollMs} ms later`,
      );
    };
    try {
      const watcher = watch(folder, { persistent: false }, lookSoon);
      folders.set(folder, { watcher, inode });
      watcher.on('error', fail);
    } catch (error) {
      fail(error);
    }
  }

  function leave(folder: string) {
    folders.get(folder)?.watcher.close();
    folders.delete(folder);
  }

  void lookNow();
  const poll = setInterval(lookNow, pollMs).unref();

  return {
    look: lookNow,
    close() {
      closed = true;
      clearTimeout(soon);
      clearInterval(poll);
      for (const folder of [...folders.keys()]) leave(folder);
    },
  };
}

/** The same for the same content, wherever a link leads; a file that is not there has a content of its own. */
async function contentOf(file: string): Promise<string> {
  try {
    const { size, mtimeMs } = await stat(file);
    if (size > MAX_DIGESTED_BYTES) return `${size} ${mtimeMs}`;
    return createHash('sha256')
      .update(await readFile(file))
      .digest('base64');
  } catch {
    return 'missing';
  }
}
