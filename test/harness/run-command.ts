import { spawn } from 'node:child_process';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** The program as `npm run build` leaves it. */
export const BUILT_PROGRAM = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

// Node hands it down to every child, and each would write megabytes that count for nothing: see "Coverage" in test/README.md.
delete process.env.NODE_V8_COVERAGE;

export interface CommandResult {
  /** Exit code; null where a signal ended it. */
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CommandOptions {
  env?: Readonly<Record<string, string>>;
  /** Standard input. */
  input?: string;
  cwd?: string;
}

/** Runs one command of the built program to its end, as `['validate', '--config', file]`. */
export function runCommand(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return runProgram(process.execPath, [BUILT_PROGRAM, ...args], options);
}

/** Runs any program to its end. */
export async function runProgram(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const { env = {}, input = '', cwd } = options;
  const child = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: 'pipe',
    ...(cwd === undefined ? {} : { cwd }),
  });
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  // A command that does not read its input may be gone before it is written.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), exited]);
  return { code, stdout, stderr };
}
