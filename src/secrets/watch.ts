import { type BigIntStats, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';

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

/**
 * A file that changes within this time is still being written, and waits for the next check. The clocks of file systems advance in
 * smaller steps.
 */
const SETTLED_MS = 100;

/** The stats of each file, or `MISSING`. */
type States = ReadonlyMap<string, string>;

const MISSING = 'missing';

/**
 * Watches files by looking at their stats regularly, because not every file system sends events, and no event tells that the
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
    const next = await statesNow();
    hasFailed = false;
    // Now, because others may never settle.
    for (const [file, state] of next) if (!known.has(file)) known.set(file, state);
    const changed = changedFiles(next, known);
    if (changed.length > 0) {
      await delay(SETTLED_MS, undefined, { ref: false });
      if (changedFiles(await statesNow(), next).length > 0) return;
    }
    known = next;
    if (changed.length > 0 && !isClosed) onChange(changed);
  }

  async function statesNow(): Promise<Map<string, string>> {
    const states = new Map<string, string>();
    // One after the other: where a file system does not respond, each look occupies one of Node's few threads.
    for (const file of new Set(files())) {
      const found = await stat(file, { bigint: true }).catch(() => undefined);
      states.set(file, found === undefined ? MISSING : textOf(found));
    }
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
function changedFiles(next: States, before: States): string[] {
  return [...next].filter(([file, state]) => (before.get(file) ?? state) !== state).map(([file]) => file);
}

function stateNow(file: string): string {
  try {
    return textOf(statSync(file, { bigint: true }));
  } catch {
    return MISSING;
  }
}

/** The inode is left out, because it changes at each look on some file systems. */
function textOf({ size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${size} ${mtimeNs} ${ctimeNs}`;
}
