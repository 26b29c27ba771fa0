/** Exit codes of every command: done, what was asked failed, wrong use. */
export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** A command takes what stands after its name and answers with the exit code. */
export type Command = (args: readonly string[]) => Promise<number>;

/** Wrong use of the command line: `main.ts` prints the message with a pointer to `--help` and exits with 2. */
export class UsageError extends Error {}

const DEFAULT_CONFIG = '/etc/cambist/cambist.yaml';

/** The config file that a command works on: `--config`, else `CAMBIST_CONFIG`, else the place where a pod mounts it. */
export function configFile(option: string | undefined): string {
  return option ?? process.env.CAMBIST_CONFIG ?? DEFAULT_CONFIG;
}
