import type { ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { recordLogged } from './leaks.ts';

/** A JSON log line. */
export type LogLine = Readonly<Record<string, unknown>>;

export interface OutputRecord {
  /** The complete output so far. */
  stdout(): string;
  stderr(): string;
  /** The lines of standard output that contain a JSON object. */
  logs(): readonly LogLine[];
  /**
   * Returns the first log line that matches the predicate, and waits for it if necessary.
   * @throws Error on timeout, or if the process exits first
   */
  waitForLog(predicate: (line: LogLine) => boolean, timeoutMs?: number): Promise<LogLine>;
}

interface Waiter {
  offer(line: LogLine): void;
  fail(reason: string): void;
}

const LOG_TIMEOUT_MS = 20_000;

/** Records the output of a process. */
export function recordOutput(child: ChildProcess): OutputRecord {
  const out: string[] = [];
  const err: string[] = [];
  const logs: LogLine[] = [];
  const waiters = new Set<Waiter>();
  let exit: string | undefined;
  onLine(child.stdout, (text) => {
    out.push(text);
    const line = parseLog(text);
    if (line === undefined) return;
    logs.push(line);
    for (const waiter of waiters) waiter.offer(line);
  });
  onLine(child.stderr, (text) => err.push(text));
  child.once('close', (code, signal) => {
    exit = `the process exited (${signal ?? `exit code ${code}`})`;
    for (const waiter of waiters) waiter.fail(exit);
    recordLogged([...out, ...err].join('\n'));
  });
  return {
    stdout: () => out.join('\n'),
    stderr: () => err.join('\n'),
    logs: () => logs,
    waitForLog: (predicate, timeoutMs = LOG_TIMEOUT_MS) =>
      new Promise((resolve, reject) => {
        const past = logs.find(predicate);
        if (past !== undefined) return resolve(past);
        const waiter: Waiter = {
          offer: (line) => {
            if (!predicate(line)) return;
            finish();
            resolve(line);
          },
          fail: (reason) => {
            finish();
            reject(new Error(`${reason} before the expected log line`));
          },
        };
        const timer = setTimeout(() => waiter.fail(`${timeoutMs} ms passed`), timeoutMs);
        const finish = () => {
          clearTimeout(timer);
          waiters.delete(waiter);
        };
        waiters.add(waiter);
        if (exit !== undefined) waiter.fail(exit);
      }),
  };
}

function onLine(stream: ChildProcess['stdout'], take: (line: string) => void): void {
  if (stream !== null) createInterface({ input: stream }).on('line', take);
}

function parseLog(text: string): LogLine | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text) as LogLine;
  } catch {
    return undefined;
  }
}
