import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { isatty } from 'node:tty';
import type { Environment } from '../intercept/agent-environment.ts';

/** Signals that end or steer a program, and that another process can send to cambist in its place. */
const FORWARDED: readonly NodeJS.Signals[] = [
  'SIGTERM',
  'SIGINT',
  'SIGQUIT',
  'SIGHUP',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGALRM',
];

/** A terminal sends these to every process in its foreground, the command included. A second one could cut its cleanup short. */
const OF_TERMINAL: ReadonlySet<NodeJS.Signals> = new Set(['SIGINT', 'SIGQUIT', 'SIGWINCH']);

/** Exit codes of a shell. */
const NOT_EXECUTABLE = 126;
const NOT_FOUND = 127;
const SIGNALLED = 128;

/** Exit codes of a program that did not start. */
export const UNSTARTED: readonly number[] = [NOT_EXECUTABLE, NOT_FOUND];

/**
 * Runs a program with the streams and the terminal of this process, and forwards signals to it.
 * @returns its exit code, or 128 and the number of the signal that ended it, as in a shell
 */
export function runChild(program: string, args: readonly string[], env: Environment): Promise<number> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: 'inherit', env });
    const stopForwarding = forwardSignals(child);
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return;
      stopForwarding();
      const isMissing = error.code === 'ENOENT';
      console.error(`cambist: cannot run "${program}": ${isMissing ? 'no such program' : error.code}`);
      resolve(isMissing ? NOT_FOUND : NOT_EXECUTABLE);
    });
    child.once('exit', (code, signal) => {
      stopForwarding();
      resolve(code ?? SIGNALLED + (signal === null ? 0 : constants.signals[signal]));
    });
  });
}

function forwardSignals(child: ChildProcess): () => void {
  const handlers = FORWARDED.map((signal) => {
    const handle = (): void => {
      if (!OF_TERMINAL.has(signal) || !isInForeground()) child.kill(signal);
    };
    process.on(signal, handle);
    return [signal, handle] as const;
  });
  return () => {
    for (const [signal, handle] of handlers) process.off(signal, handle);
  };
}

/** True if the terminal sends its signals to this process and to its children. */
function isInForeground(): boolean {
  try {
    // After the name of the program: state, parent, process group, session, terminal, and the group in the terminal's foreground.
    const [, , group, , , foreground] = readFileSync('/proc/self/stat', 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
    return group === foreground;
  } catch {
    // Not Linux. The streams are not touched, because that would make a pipe non-blocking for the command as well.
    return [0, 1, 2].some((fd) => isatty(fd));
  }
}
