import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A package of the lockfile. */
interface Locked {
  readonly dev?: boolean;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as {
  packages: Readonly<Record<string, Locked>>;
};

/** The folders that `npm ci --omit=dev` installs, such as `node_modules/zod`. */
export const SHIPPED: readonly string[] = Object.entries(packages)
  .filter(([path, { dev }]) => path !== '' && dev !== true)
  .map(([path]) => path);

/** The folders of a package and of all its dependencies, including those shared with other packages. */
export function withDependencies(name: string): string[] {
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

/** Resolves a package like Node: in the package's own `node_modules`, then in parent folders. */
function resolve(from: string, name: string): string | undefined {
  const path = join(from, 'node_modules', name);
  if (path in packages) return path;
  if (from === '') return undefined;
  return resolve(from.slice(0, Math.max(0, from.lastIndexOf('/node_modules'))), name);
}

/** The size of all files in these folders, in MB (10^6 bytes). */
export function megabytes(paths: readonly string[]): number {
  return paths.reduce((sum, path) => sum + bytesIn(path), 0) / 1e6;
}

/** The size of a folder without nested packages, which are counted separately. */
function bytesIn(directory: string): number {
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => !(entry.isDirectory() && entry.name === 'node_modules'))
    .map((entry) => join(directory, entry.name))
    .reduce((sum, path) => sum + (statSync(path).isDirectory() ? bytesIn(path) : statSync(path).size), 0);
}
