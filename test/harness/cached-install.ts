import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** Ignored by git, and emptied by `npm ci`. */
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/cambist-test/', import.meta.url));

/** Written after a complete installation. An incomplete installation is repeated. */
const MARK = '.installed';

/**
 * Returns a folder with dependencies of a test that are not dependencies of the project. It is created once for each content of
 * `files`, which name and pin the dependencies.
 * @param install called with the new folder, which contains copies of `files`
 */
export async function cachedInstall(
  name: string,
  files: readonly string[],
  install: (directory: string) => Promise<void>,
): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) hash.update(await readFile(file));
  const directory = join(CACHE, `${name}-${hash.digest('hex').slice(0, 16)}`);
  const mark = join(directory, MARK);
  const isComplete = await readFile(mark).then(
    () => true,
    () => false,
  );
  if (isComplete) return directory;
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  for (const file of files) await copyFile(file, join(directory, basename(file)));
  await install(directory);
  await writeFile(mark, '');
  return directory;
}

/**
 * Runs an installed tool.
 * @throws Error with the output, if the tool fails or is missing
 */
export async function runTool(command: string, args: readonly string[], cwd: string): Promise<void> {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  }).catch((cause: unknown) => {
    throw new Error(`"${command}" is missing: install it to run this test`, { cause });
  });
  const [code, out, err] = await Promise.all([exited, text(child.stdout), text(child.stderr)]);
  if (code !== 0) throw new Error(`"${command} ${args.join(' ')}" failed with exit code ${code}:\n${out}${err}`);
}
