import { mkdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface MemoryCgroup {
  /** A process that writes its id to this file joins the cgroup, with all its later children. */
  readonly procsFile: string;
  remove(): Promise<void>;
}

/** The folder of the memory controller in each version of cgroups, and the file of the limit. */
const VERSIONS = [
  { root: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes' },
  { root: '/sys/fs/cgroup', limit: 'memory.max' },
] as const;

/** Creates a cgroup with a memory limit; undefined if this machine does not permit it. */
export async function createMemoryCgroup(limitBytes: number): Promise<MemoryCgroup | undefined> {
  for (const { root, limit } of VERSIONS) {
    const folder = join(root, `cambist-test-${process.pid}`);
    try {
      await mkdir(folder);
    } catch {
      continue;
    }
    try {
      // Fails if the controller is not delegated.
      await readFile(join(folder, limit));
      await writeFile(join(folder, limit), String(limitBytes));
      return { procsFile: join(folder, 'cgroup.procs'), remove: () => rmdir(folder) };
    } catch {
      await rmdir(folder);
    }
  }
  return undefined;
}
