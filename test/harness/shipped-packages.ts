import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A package as the lockfile has it. */
interface Locked {
  readonly dev?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
  packages: Readonly<Record<string, Locked>>;
};

/** Where each package lies that `npm ci --omit=dev` installs, as in `node_modules/zod`. */
export const SHIPPED: readonly string[] = Object.entries(packages)
  .filter(([path, { dev }]) => path !== '' && dev !== true)
  .map(([path]) => path);

/** Those of a package and of all that it brings, whoever else brings it too. */
export function broughtBy(name: string): string[] {
  const found = new Set<string>();
  const add = (from: string, wanted: string): void => {
    const path = resolve(from, wanted);
    if (path === undefined || found.has(path)) return;
    found.add(path);
    for (const next of Object.keys(packages[path]?.dependencies ?? {})) add(path, next);
  };
  add('', name);
  return [...found];
}

/** As Node looks for it: in the package's own `node_modules`, then further up. */
function resolve(from: string, name: string): string | undefined {
  const path = join(from, 'node_modules', name);
  if (path in packages) return path;
  if (from === '') return undefined;
  return resolve(from.slice(0, Math.max(0, from.lastIndexOf('/node_modules'))), name);
}

/** Of all their files, in MB of a million bytes. */
export function megabytes(paths: readonly string[]): number {
  return paths.reduce((sum, path) => sum + bytesIn(path), 0) / 1e6;
}

/** Without the packages inside it, which are counted by themselves. */
function bytesIn(directory: string): number {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => !(entry.isDirectory() && entry.name === 'node_modules'))
    .map((entry) => join(directory, entry.name))
    .reduce((sum, path) => sum + (statSync(path).isDirectory() ? bytesIn(path) : statSync(path).size), 0);
}
