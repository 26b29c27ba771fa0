import { spawn } from 'node:child_process';
import { proxyVariables } from '../config/agent-variables.ts';
import type { SigningFolder } from './trust-folder.ts';

/** Time for one program. Go compiles its own first. */
const LIMIT_MS = 60_000;
const MAX_KEPT_BYTES = 16_384;

export interface ProgramResult {
  readonly succeeded: boolean;
  /** The last line that it wrote to standard error. */
  readonly message: string;
}

/** Runs a program that has the variables of a trust folder, and another proxy than they name. */
export function runTrustProgram(
  program: string,
  args: readonly string[],
  { variables }: SigningFolder,
  proxyUrl: string,
): Promise<ProgramResult> {
  const { hostname, port } = new URL(proxyUrl);
  const java = ['https', 'http'].map((scheme) => `-D${scheme}.proxyHost=${hostname} -D${scheme}.proxyPort=${port}`);
  const env = {
    ...inherited(),
    ...variables,
    ...proxyVariables(proxyUrl),
    // Go then compiles in a fraction of the time.
    CGO_ENABLED: '0',
    // A later option of the same name counts.
    JAVA_TOOL_OPTIONS: [variables.JAVA_TOOL_OPTIONS, ...java].join(' '),
  };
  const child = spawn(program, args, {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  let text = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text = (text + chunk).slice(-MAX_KEPT_BYTES);
  });
  return new Promise((resolve) => {
    child.once('error', ({ message }) => resolve({ succeeded: false, message }));
    child.once('close', (code, signal) => {
      const limit = signal === null ? undefined : `not finished after ${LIMIT_MS / 1000} seconds`;
      resolve({ succeeded: code === 0, message: limit ?? lastLine(text) });
    });
  });
}

/** The variables that a program needs to start. None is about certificates or proxies. */
function inherited(): Record<string, string> {
  const kept = ['PATH', 'HOME', 'TMPDIR', 'GOCACHE', 'GOFLAGS', 'GOROOT', 'JAVA_HOME', 'LANG'];
  return Object.fromEntries(
    kept.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

function lastLine(text: string): string {
  const lines = text.split('\n').map((line) => line.trim());
  // The JVM says so, and go as well.
  return lines.filter((line) => line !== '' && !/^Picked up |^exit status /.test(line)).at(-1) ?? '';
}
