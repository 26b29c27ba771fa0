import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** Git ignores it, and `npm ci` empties it. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/cambist-test/', import.meta.url));

/** Written when an installation is whole; one that was broken off is made anew. */
const MARK = '.installed';

/**
 * A folder with what a test needs beside the project's own dependencies. It is made once for each content of `files`, which
 * name and pin what goes in.
 * @param install is called with the new folder, in which copies of `files` lie
 */
export async function cachedInstall(
  name: string,
  files: readonly string[],
  install: (directory: string) => Promise<void>,
): Promise<string> {
  const hash = createHash('sha256').update(process.version);
  for (const file of files) hash.update(await readFile(file));
  const directory = join(CACHE, `${name}-${hash.digest('hex').slice(0, 16)}`);
  const mark = join(directory, MARK);
  const whole = await readFile(mark).then(
    () => true,
    () => false,
  );
  if (whole) return directory;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  for (const file of files) await copyFile(file, join(directory, basename(file)));
  await install(directory);
  await writeFile(mark, '');
  return directory;
}

/**
 * Runs a tool of the machine to its end.
 * @throws Error with all that it printed where it fails, or that it is not there
 */
export async function runTool(command: string, args: readonly string[], cwd: string): Promise<void> {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).catch((cause: unknown) => {
    throw new Error(`"${command}" is not on this machine: install it to run this test`, { cause });
  });
  const [code, out, err] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  if (code !== 0) throw new Error(`"${command} ${args.join(' ')}" failed with exit code ${code}:\n${out}${err}`);
}
