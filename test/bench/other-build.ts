import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const LOCK = 'package-lock.json';
/** Source maps do not run. Legal comments are in files of their own. */
const RUNS = /\.c?js$/;

/** A build of another commit, or why it is not available. */
export type OtherBuild = { readonly name: string; readonly program: string } | { readonly why: string };

/** Builds a commit of this repository in a new folder. It gets the packages of this folder if both need the same. */
export function buildCommit(revision: string, folder: string): OtherBuild {
  const commit = run('git', ['rev-parse', '--verify', '--quiet', `${revision}^{commit}`], ROOT)?.trim();
  if (commit === undefined) {
    return { why: `"${revision}" is not here: this is the first commit, a shallow clone, or a folder without git` };
  }
  mkdirSync(folder, { recursive: true });
  const archive = join(folder, 'sources.tar');
  const isThere =
    run('git', ['archive', '--format=tar', `--output=${archive}`, commit], ROOT) !== undefined &&
    run('tar', ['-xf', archive], folder) !== undefined;
  if (!isThere) return { why: `the sources of ${commit} could not be unpacked` };
  if (readFileSync(join(folder, LOCK), 'utf8') === readFileSync(join(ROOT, LOCK), 'utf8')) {
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  } else if (run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund'], folder) === undefined) {
    return { why: `the packages of ${commit} could not be installed` };
  }
  if (run('npm', ['run', '--silent', 'build'], folder) === undefined) return { why: `${commit} does not build` };
  return { name: `${revision} (${commit.slice(0, 7)})`, program: join(folder, 'dist', 'main.js') };
}

/** Do two builds run the same code? */
export function isSameBuild(one: string, other: string): boolean {
  const filesOf = (folder: string): string[] =>
    readdirSync(folder)
      .filter((name) => RUNS.test(name))
      .sort();
  const names = filesOf(one);
  return (
    names.join() === filesOf(other).join() &&
    names.every((name) => readCode(join(one, name)) === readCode(join(other, name)))
  );
}

/** Code without whitespace and the paths of packages. Both depend on the folder of a build. */
function readCode(file: string): string {
  return readFileSync(file, 'latin1')
    .replace(/\\?\s/g, '')
    .replace(/"[\w./@+-]*node_modules\//g, '"node_modules/');
}

/** The standard output of a command; undefined if it failed. Its errors are shown. */
function run(command: string, args: readonly string[], cwd: string): string | undefined {
  const { status, stdout } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: Number.POSITIVE_INFINITY,
  });
  return status === 0 ? stdout : undefined;
}
