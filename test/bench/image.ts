import { type ChildProcess, type SpawnOptions, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  createMemoryCgroup,
  IMAGE_ENVIRONMENT,
  IMAGE_NODE_FLAGS,
  type MemoryCgroup,
  POD_MEMORY_BYTES,
} from '../harness/flood.ts';
import { startPinned } from './processes.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Joins the cgroup of the first argument, and becomes the program of the others. */
const JOIN = 'echo $$ > "$0" && exec "$@"';

export type Image = ReturnType<typeof createImage>;

/** Runs programs as the image does, one at a time. @param directory for the copy of the build */
export function createImage(directory: string) {
  let cgroup: Promise<MemoryCgroup | undefined> | undefined;
  let program: string | undefined;
  return {
    /** Runs a program with the image's flags and variables, and with the example pod's memory if this machine permits it. */
    async launch(node: string, args: readonly string[], options: SpawnOptions): Promise<ChildProcess> {
      cgroup ??= createMemoryCgroup(POD_MEMORY_BYTES);
      const procsFile = (await cgroup)?.procsFile;
      if (procsFile === undefined) process.stderr.write('no memory limit: this machine does not permit a cgroup\n');
      const command = [node, ...IMAGE_NODE_FLAGS, ...args];
      const inCgroup = procsFile === undefined ? command : ['sh', '-c', JOIN, procsFile, ...command];
      return startPinned('proxy', inCgroup[0] as string, inCgroup.slice(1), {
        ...options,
        env: { ...process.env, ...IMAGE_ENVIRONMENT },
      });
    },
    /** `main.js` of a copy of the build that has V8's code cache. */
    program(node: string): string {
      program ??= copyWithCodeCache(node, join(directory, 'image'));
      return program;
    },
    close: async () => (await cgroup)?.remove(),
  };
}

/** @throws Error if the code cache cannot be made */
function copyWithCodeCache(node: string, folder: string): string {
  mkdirSync(join(folder, 'deploy'), { recursive: true });
  for (const name of ['dist', 'package.json', join('deploy', 'code-cache.mjs')]) {
    cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
  const script = join(folder, 'deploy', 'code-cache.mjs');
  const { status } = spawnSync(node, [script], { stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0) throw new Error(`"${node}" cannot make the code cache of the image`);
  return join(dirname(script), '..', 'dist', 'main.js');
}

/** The reason why a Node cannot run as in the image; undefined if it can. */
export function whyNoImage(node: string): string | undefined {
  const { status } = spawnSync(node, [...IMAGE_NODE_FLAGS, '-e', ''], { stdio: 'ignore' });
  return status === 0 ? undefined : "needs a Node that knows the image's flags: --node FILE";
}
