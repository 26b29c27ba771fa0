import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface MemoryCgroup {
  /** A process that writes its id there is within the limit, and all that it starts. */
  readonly procsFile: string;
  remove(): Promise<void>;
}

/** Where each version of cgroups has its memory controller, and how it calls the limit. */
const VERSIONS = [
  { root: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes' },
  { root: '/sys/fs/cgroup', limit: 'memory.max' },
] as const;

/** A cgroup with this memory limit; undefined where this machine lets us make none. */
export async function createMemoryCgroup(limitBytes: number): Promise<MemoryCgroup | undefined> {
  for (const { root, limit } of VERSIONS) {
    const folder = join(root, `cambist-test-${process.pid}`);
    try {
      await mkdir(folder);
    } catch {
      continue;
    }
    try {
      // Fails where the controller is not handed down.
      await readFile(join(folder, limit));
      await writeFile(join(folder, limit), String(limitBytes));
      return { procsFile: join(folder, 'cgroup.procs'), remove: () => rmdir(folder) };
    } catch {
      await rmdir(folder);
    }
  }
  return undefined;
}
