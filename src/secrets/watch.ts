import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { OPEN_FLAGS, readStart } from './within.ts';

interface WatchOptions {
  /** The files to watch. Called at each check, because a reload may change them. */
  readonly files: () => readonly string[];
  /** Called once after any number of files changed, appeared or disappeared, with these files. */
  readonly onChange: (changed: readonly string[]) => void;
  /** Interval of checks, for each hundred files. Default 500 ms. */
  readonly pollMs?: number;
  readonly logger: { warn(fields: { readonly err: unknown }, message: string): void };
}

const DEFAULT_POLL_MS = 500;

/** Looking at a thousand files twice a second would take a fifth of a core. More files than this are looked at less often. */
const FILES_PER_POLL = 100;

/** A file that changes within this time is still being written, and waits for the next check. */
const SETTLED_MS = 100;

/** Larger files are compared by their stats. Most configs, keys and certificates are smaller. */
const MAX_DIGESTED_BYTES = 256 * 1024;

/** The clock of a file system advances in steps. A file that changed longer ago than this changes its stats with its content. */
const RECENT_MS = 2000;

interface FileState {
  /** Undefined: the file was too young for its stats to tell of a change. */
  readonly stats: string | undefined;
  readonly content: string;
}

const MISSING: FileState = { stats: 'missing', content: 'missing' };

/**
 * Watches the content of files by looking at them regularly, because not every file system sends events, and no event tells that the
 * target of a link changed. It does not keep the process alive.
 */
export function watchFiles({ files, onChange, pollMs = DEFAULT_POLL_MS, logger }: WatchOptions) {
  // Synchronously: the caller reads the files next, and a change right after that counts.
  let known = new Map(files().map((file) => [file, stateNow(file)]));
  let isClosed = false;
  let hasFailed = false;
  let checking = Promise.resolve();

  /** Checks for changes now. Settles after `onChange`, if it was called. */
  function check(): Promise<void> {
    checking = checking.then(compare).catch((error: unknown) => {
      if (!hasFailed) logger.warn({ err: error }, 'checking for changed files failed; trying again');
      hasFailed = true;
    });
    return checking;
  }

  async function compare(): Promise<void> {
    const next = await statesAfter(known);
    hasFailed = false;
    // Now, because others may never settle.
    for (const [file, state] of next) if (!known.has(file)) known.set(file, state);
    const changed = changedFiles(next, known);
    if (changed.length > 0) {
      await delay(SETTLED_MS, undefined, { ref: false });
      if (changedFiles(await statesAfter(next), next).length > 0) return;
    }
    known = next;
    if (changed.length > 0 && !isClosed) onChange(changed);
  }

  async function statesAfter(before: ReadonlyMap<string, FileState>): Promise<Map<string, FileState>> {
    const states = new Map<string, FileState>();
    // One after the other: a team may have a thousand files, which would all be in memory.
    for (const file of files()) states.set(file, await stateOf(file, before.get(file)));
    return states;
  }

  let polls = 0;
  const poll = setInterval(() => {
    polls += 1;
    if (polls * FILES_PER_POLL < known.size) return;
    polls = 0;
    void check();
  }, pollMs).unref();
  return {
    check,
    close(): void {
      isClosed = true;
      clearInterval(poll);
    },
  };
}

/** A file that was not watched before counts as unchanged. */
function changedFiles(next: ReadonlyMap<string, FileState>, before: ReadonlyMap<string, FileState>): string[] {
  const changed = [...next].filter(([file, { content }]) => (before.get(file)?.content ?? content) !== content);
  return changed.map(([file]) => file);
}

async function stateOf(file: string, before: FileState | undefined): Promise<FileState> {
  try {
    const nowMs = Date.now();
    const found = await stat(file);
    const stats = statsOf(found, nowMs);
    if (stats !== undefined && stats === before?.stats) return before;
    return { stats, content: isDigested(found) ? await contentOf(file) : textOf(found) };
  } catch {
    return MISSING;
  }
}

function stateNow(file: string): FileState {
  try {
    const nowMs = Date.now();
    const found = statSync(file);
    return { stats: statsOf(found, nowMs), content: isDigested(found) ? contentNow(file) : textOf(found) };
  } catch {
    return MISSING;
  }
}

/** Another file may have taken its place since it was looked at, and a link may lead to one that never ends, with the size 0. */
async function contentOf(file: string): Promise<string> {
  const handle = await open(file, OPEN_FLAGS);
  try {
    const found = await handle.stat();
    return isDigested(found) ? digestOf(await readStart(handle, found.size)) : textOf(found);
  } finally {
    await handle.close();
  }
}

function contentNow(file: string): string {
  const descriptor = openSync(file, OPEN_FLAGS);
  try {
    const found = fstatSync(descriptor);
    if (!isDigested(found)) return textOf(found);
    const buffer = Buffer.allocUnsafe(found.size + 1);
    return digestOf(buffer.subarray(0, readSync(descriptor, buffer)));
  } finally {
    closeSync(descriptor);
  }
}

function statsOf(found: Stats, nowMs: number): string | undefined {
  return nowMs - found.ctimeMs > RECENT_MS ? textOf(found) : undefined;
}

function textOf({ ino, size, ctimeMs }: Stats): string {
  return `${ino} ${size} ${ctimeMs}`;
}

/** To read a pipe would wait for a writer, and with it every later check. */
function isDigested(stats: Stats): boolean {
  return stats.size <= MAX_DIGESTED_BYTES && stats.isFile();
}

function digestOf(content: Buffer): string {
  return createHash('sha256').update(content).digest('base64');
}
