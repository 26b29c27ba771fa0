import { execFile } from 'node:child_process';
import { chmod } from 'node:fs/promises';
import { promisify } from 'node:util';
import type { Launch } from '../../harness/cambist-process.ts';

/** What build.sh has built. */
const IMAGE = 'cambist:test';

const MAX_OUTPUT_BYTES = 64 * 1024 * 1024;

/** As `deploy/pod.yaml` has it: nothing may be written, and nothing that only root may do. */
export const RESTRICTED = [
  '--read-only',
  '--read-only-tmpfs=false',
  '--cap-drop=ALL',
  '--security-opt=no-new-privileges',
];

/** Enough for a flood; podman would ask for more than a machine need allow. */
const LIMITS = ['--ulimit=nofile=8192:8192', '--ulimit=nproc=4096:4096'];

/** Standard output of one podman command. @throws Error with what it printed where it fails */
export async function podman(...args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('podman', [...args], { maxBuffer: MAX_OUTPUT_BYTES });
  return stdout;
}

/** A shell command line whose standard input is the whole root of a container of the image, as a tar archive. */
export async function overRoot(commandLine: string): Promise<string> {
  const id = (await podman('create', ...LIMITS, IMAGE)).trim();
  try {
    const exported = 'set -o pipefail; podman export "$0" | ';
    const { stdout } = await promisify(execFile)('bash', ['-c', exported + commandLine, id], {
      maxBuffer: MAX_OUTPUT_BYTES,
    });
    return stdout;
  } finally {
    await podman('rm', id);
  }
}

export interface ImageConfig {
  User: string;
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  WorkingDir: string;
  ExposedPorts: Record<string, object>;
  Labels: Record<string, string>;
}

export async function imageConfig(): Promise<ImageConfig> {
  return JSON.parse(await podman('image', 'inspect', '--format', '{{json .Config}}', IMAGE)) as ImageConfig;
}

let containers = 0;

/** A container of the image as a pod has it; cambist's own arguments are those of the image. */
export function inContainer(
  memoryBytes: number,
  flags: readonly string[] = RESTRICTED,
): { name: string; launch: Launch } {
  containers += 1;
  const name = `cambist-${process.pid}-${containers}`;
  return {
    name,
    launch: async (_configFile, directory) => {
      // The user in the container is another one than who runs the tests.
      await chmod(directory, 0o755);
      const mounts = ['/etc/cambist', directory].map((target) => `--volume=${directory}:${target}:ro`);
      const where = [`--name=${name}`, '--rm', '--network=host', `--memory=${memoryBytes}`];
      return ['podman', 'run', ...where, ...flags, ...LIMITS, ...mounts, IMAGE];
    },
  };
}

/** The process that a container runs, as this machine numbers it. */
export async function pidOf(name: string): Promise<number> {
  return Number(await podman('inspect', '--format', '{{.State.Pid}}', name));
}
