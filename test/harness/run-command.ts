import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** The program that `npm run build` creates. */
export const BUILT_PROGRAM = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

// Children would inherit the variable and write megabytes of unused coverage: see "Coverage" in test/README.md.
delete process.env.NODE_V8_COVERAGE;

export type CommandResult = Awaited<ReturnType<typeof runProgram>>;

interface CommandOptions {
  env?: Readonly<Record<string, string>>;
  input?: string;
  cwd?: string;
}

/** Runs a command of the built program, such as `['validate', '--config', file]`. */
export function runCommand(args: readonly string[], options: CommandOptions = {}) {
  return runProgram(process.execPath, [BUILT_PROGRAM, ...args], options);
}

export async function runProgram(program: string, args: readonly string[], options: CommandOptions = {}) {
  const { env = {}, input = '', cwd } = options;
  const child = spawn(program, args, {
    env: { ...process.env, ...env },
    stdio: 'pipe',
    ...(cwd === undefined ? {} : { cwd }),
  });
  const exited: Promise<number | null> = once(child, 'exit').then(([code]) => code);
  // A command that does not read its input can exit before the input is written.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const [stdout, stderr, code] = await Promise.all([textOf(child.stdout), textOf(child.stderr), exited]);
  return { code, stdout, stderr };
}

/** Asserts that a command succeeded. @returns its standard output */
export function succeeded({ code, stdout, stderr }: CommandResult): string {
  assert.equal(code, 0, stderr + stdout);
  return stdout;
}

/** Keeps a byte order mark. */
async function textOf(stream: Readable): Promise<string> {
  return (await buffer(stream)).toString('utf8');
}
