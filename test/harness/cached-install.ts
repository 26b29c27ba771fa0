import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { errorCode } from '../../src/errors.ts';
import { runProgram } from './run-command.ts';

export const IN_NODE_MODULES = '../../node_modules/.cache/cambist-test/';
/** Folder for large or slow installs. It survives `npm ci`. */
export const KEPT = '../../.cache/';

/** Written after a complete installation. An incomplete installation is repeated. */
const MARK = '.installed';

/**
 * Returns a folder with dependencies of a test that are not dependencies of the project. It is created once for each content of
 * `files`, which name and pin the dependencies.
 * @param install called with the new folder, which contains copies of `files`
 * @param cache ignored by git
 */
export async function cachedInstall(
  name: string,
  files: readonly string[],
  install: (directory: string) => Promise<void>,
  cache = IN_NODE_MODULES,
): Promise<string> {
  const hash = createHash('sha256');
  for (const file of files) hash.update(await readFile(file));
  const parent = fileURLToPath(new URL(cache, import.meta.url));
  const directory = join(parent, `${name}-${hash.digest('hex').slice(0, 16)}`);
  const mark = join(directory, MARK);
  if (existsSync(mark)) return directory;
  await mkdir(parent, { recursive: true });
  const unlock = await lockFolder(`${directory}.lock`);
  try {
    if (existsSync(mark)) return directory;
    await rm(directory, { recursive: true, force: true });
    await mkdir(directory);
    for (const file of files) await copyFile(file, join(directory, basename(file)));
    await install(directory);
    await writeFile(mark, '');
    return directory;
  } finally {
    await unlock();
  }
}

const POLL_MS = 500;
/** The lock of a process that has exited is this old. */
const STALE_MS = 60_000;

/** Suites run at the same time, also in other namespaces of processes. @returns removes the lock */
async function lockFolder(lock: string): Promise<() => Promise<void>> {
  for (;;) {
    try {
      await mkdir(lock);
      break;
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
      const age = await stat(lock).then(
        ({ mtimeMs }) => Date.now() - mtimeMs,
        () => 0,
      );
      if (age > STALE_MS) await rm(lock, { recursive: true, force: true });
      else await delay(POLL_MS);
    }
  }
  const beat = setInterval(() => void utimes(lock, new Date(), new Date()).catch(() => {}), STALE_MS / 10);
  return async () => {
    clearInterval(beat);
    await rm(lock, { recursive: true, force: true });
  };
}

/**
 * Runs an installed tool.
 * @throws Error with the output, if the tool fails or is missing
 */
export async function runTool(command: string, args: readonly string[], cwd: string): Promise<void> {
  const { code, stdout, stderr } = await runProgram(command, args, { cwd }).catch((cause: unknown) => {
    throw new Error(`"${command}" is missing: install it to run this test`, { cause });
  });
  if (code !== 0) throw new Error(`"${command} ${args.join(' ')}" failed with exit code ${code}:\n${stdout}${stderr}`);
}

/** Installs the packages of a folder with a `package.json` and a lock file. */
export function installNpm(name: string, folder: string): Promise<string> {
  const files = ['package.json', 'package-lock.json'].map((file) => join(folder, file));
  return cachedInstall(name, files, (directory) =>
    runTool('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--prefix', directory], directory),
  );
}

/** Finds the program of a Node that `installNpm` has installed. */
export async function nodeIn(directory: string): Promise<string> {
  const modules = join(directory, 'node_modules');
  const found = (await readdir(modules)).find((name) => /^node-(bin-)?(linux|darwin)-/.test(name));
  if (found === undefined) throw new Error('the lock file contains no Node for this platform');
  return join(modules, found, 'bin/node');
}

const COPY_DEPENDENCIES = 'org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies';

/** Installs the packages of a `pom.xml`. @returns their class path */
export async function installJava(name: string, pom: string): Promise<string> {
  const folder = await cachedInstall(name, [pom], (directory) =>
    // -C: a wrong checksum is an error instead of a warning.
    runTool('mvn', ['-q', '-B', '-C', COPY_DEPENDENCIES, `-DoutputDirectory=${directory}`], directory),
  );
  return join(folder, '*');
}

/** Compiles a program in Go from the files of a folder. @returns its path */
export async function installGo(
  name: string,
  folder: string,
  files: readonly string[],
  cache?: string,
): Promise<string> {
  const sources = files.map((file) => join(folder, file));
  const build = (directory: string) => runTool('go', ['build', '-o', 'program', '.'], directory);
  return join(await cachedInstall(name, sources, build, cache), 'program');
}

/**
 * Installs the packages of a file of pins into a new virtual environment, with uv: pip takes 45 seconds of processor time for
 * 118 packages, and uv 3. Python compiles a module when it imports it.
 * @returns its folder of programs
 */
export async function installPython(
  name: string,
  requirements: string,
  python = 'python3',
  cache?: string,
): Promise<string> {
  const install = async (folder: string) => {
    const uv = join(await installUv(), 'venv/bin/uv');
    await runTool(uv, ['venv', '--quiet', '--no-python-downloads', '--python', python, 'venv'], folder);
    const packages = ['--no-deps', '-r', basename(requirements)];
    await runTool(uv, ['pip', 'install', '--quiet', '--python', 'venv/bin/python', ...packages], folder);
  };
  return join(await cachedInstall(name, [requirements], install, cache), 'venv/bin');
}

function installUv(): Promise<string> {
  const requirements = fileURLToPath(new URL('uv/requirements.txt', import.meta.url));
  return cachedInstall('uv', [requirements], async (folder) => {
    await runTool('python3', ['-m', 'venv', 'venv'], folder);
    await runTool(join(folder, 'venv/bin/pip'), ['install', '--quiet', '-r', 'requirements.txt'], folder);
  });
}
