import { chmod } from 'node:fs/promises';
import type { Launch } from '../../harness/cambist-process.ts';
import { runProgram, succeeded } from '../../harness/run-command.ts';

export const IMAGE = 'cambist:test';

/** The restrictions of `deploy/pod.yaml`: a read-only root file system and no capabilities. */
export const RESTRICTED = [
  '--read-only',
  '--read-only-tmpfs=false',
  '--cap-drop=ALL',
  '--security-opt=no-new-privileges',
];

/** Sufficient for the flood test. podman's defaults can exceed the limits of the machine. */
export const LIMITS = ['--ulimit=nofile=8192:8192', '--ulimit=nproc=4096:4096'];

/** Runs a podman command. @returns its standard output @throws Error with the output if the command fails */
export async function podman(...args: readonly string[]): Promise<string> {
  return succeeded(await runProgram('podman', args));
}

/** Runs a shell command whose standard input is the image's root file system as a tar archive. */
async function overRoot(commandLine: string, image: string): Promise<string> {
  const id = (await podman('create', ...LIMITS, image)).trim();
  try {
    const exported = 'set -o pipefail; podman export "$0" | ';
    return succeeded(await runProgram('bash', ['-c', exported + commandLine, id]));
  } finally {
    await podman('rm', id);
  }
}

export interface ImageConfig {
  User: string;
  Env: string[];
  Entrypoint: string[];
  Cmd: string[];
  ExposedPorts: Record<string, object>;
  Labels: Record<string, string>;
}

export async function imageConfig(): Promise<ImageConfig> {
  return JSON.parse(await podman('image', 'inspect', '--format', '{{json .Config}}', IMAGE)) as ImageConfig;
}

let containers = 0;

/** Launches cambist in a container with the restrictions of a pod, with the image's own arguments. */
export function inContainer(
  memoryBytes: number,
  flags: readonly string[] = RESTRICTED,
): { name: string; launch: Launch } {
  containers += 1;
  const name = `cambist-${process.pid}-${containers}`;
  return {
    name,
    launch: async (_configFile, directory) => {
      // The user in the container is not the user who runs the tests.
      await chmod(directory, 0o755);
      const mounts = ['/etc/cambist', directory].map((target) => `--volume=${directory}:${target}:ro`);
      const options = [`--name=${name}`, '--rm', '--network=host', `--memory=${memoryBytes}`];
      return ['podman', 'run', ...options, ...flags, ...LIMITS, ...mounts, IMAGE];
    },
  };
}

export async function pidOf(name: string): Promise<number> {
  return Number(await podman('inspect', '--format', '{{.State.Pid}}', name));
}

export interface Entry {
  /** Relative to the root, without a leading slash. */
  readonly path: string;
  readonly mode: string;
  readonly owner: string;
  readonly bytes: number;
}

export async function entriesOf(image = IMAGE): Promise<Entry[]> {
  const lines = (await overRoot('tar --list --verbose --numeric-owner', image)).split('\n');
  return lines.flatMap((line) => {
    const [, mode = '', owner = '', bytes, path] =
      /^(\S{10})\s+(\S+)\s+(\d+)\s+\S+ \S+ (.*?)(?: -> .*)?$/.exec(line) ?? [];
    return path === undefined ? [] : [{ mode, owner, bytes: Number(bytes), path }];
  });
}
