import { createHash } from 'node:crypto';
import { type FSWatcher, readFileSync, type Stats, statSync, watch } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';

/** The part of the logger that a watcher uses. */
interface WatchLogger {
  warn(fields: { readonly err: unknown }, message: string): void;
}

interface WatchOptions {
  /** The files to watch. Called at each check, because a reload may change them. */
  readonly files: () => readonly string[];
  /** Called once after any number of files changed, appeared or disappeared. */
  readonly onChange: () => void;
  /** Interval of checks without events. Default 10 s. */
  readonly pollMs?: number;
  readonly logger: WatchLogger;
}

const DEFAULT_POLL_MS = 10_000;

/** One save or one ConfigMap update causes several events. */
const DEBOUNCE_MS = 100;

/** Larger files are compared by size and time. Configs, keys and certificates are smaller. */
const MAX_DIGESTED_BYTES = 8 * 1024 * 1024;

interface WatchedFolder {
  readonly watcher: FSWatcher;
  /** A recreated folder has another inode, and needs a new watcher. */
  readonly inode: number;
}

/** A running watcher. */
interface FileWatcher {
  /** Checks for changes now. Settles after `onChange`, if it was called. */
  check(): Promise<void>;
  close(): void;
}

/**
 * Watches files through their folders, because Kubernetes swaps a `..data` link and editors rename files over. It also polls,
 * because some file systems send no events. It does not keep the process alive.
 */
export function watchFiles({ files, onChange, pollMs = DEFAULT_POLL_MS, logger }: WatchOptions): FileWatcher {
  const folders = new Map<string, WatchedFolder>();
  const known = new Map<string, string>();
  /** Folders whose failure has been logged. Each check tries again. */
  const unwatchable = new Set<string>();
  let closed = false;
  let soon: NodeJS.Timeout | undefined;
  let checking = Promise.resolve();

  function checkSoon() {
    soon ??= setTimeout(checkNow, DEBOUNCE_MS).unref();
  }

  function checkNow(): Promise<void> {
    clearTimeout(soon);
    soon = undefined;
    checking = checking.then(check).catch((error: unknown) => {
      logger.warn({ err: error }, 'checking for changed files failed; trying again at the next poll');
    });
    return checking;
  }

  async function check() {
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
        `folder "${folder}" cannot be watched; its changes are noticed up to ${pollMs} ms later`,
      );
    };
    try {
      const watcher = watch(folder, { persistent: false }, checkSoon);
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

  // Synchronously: the caller reads the files next, and a change right after that counts.
  for (const file of files()) known.set(file, currentContentOf(file));
  void checkNow();
  const poll = setInterval(checkNow, pollMs).unref();

  return {
    check: checkNow,
    close() {
      closed = true;
      clearTimeout(soon);
      clearInterval(poll);
      for (const folder of [...folders.keys()]) leave(folder);
    },
  };
}

/** A digest of the content, following links. A missing file has a value of its own. */
async function contentOf(file: string): Promise<string> {
  try {
    const stats = await stat(file);
    return isDigested(stats) ? digestOf(await readFile(file)) : sizeAndTimeOf(stats);
  } catch {
    return 'missing';
  }
}

/** The same as `contentOf`, synchronously. */
function currentContentOf(file: string): string {
  try {
    const stats = statSync(file);
    return isDigested(stats) ? digestOf(readFileSync(file)) : sizeAndTimeOf(stats);
  } catch {
    return 'missing';
  }
}

/** To read a pipe would wait for a writer, and with it every later check. */
function isDigested(stats: Stats): boolean {
  return stats.size <= MAX_DIGESTED_BYTES && stats.isFile();
}

function digestOf(content: Buffer): string {
  return createHash('sha256').update(content).digest('base64');
}

function sizeAndTimeOf({ size, mtimeMs }: Stats): string {
  return `${size} ${mtimeMs}`;
}
