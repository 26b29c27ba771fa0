export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** A command. Takes the arguments after its name and returns the exit code. */
export type Command = (args: readonly string[]) => Promise<number>;

/** Wrong usage of the command line: `main.ts` prints the message and a pointer to `--help`, and exits with 2. */
export class UsageError extends Error {}

const DEFAULT_CONFIG = '/etc/cambist/cambist.yaml';

/** The config file of a command: `--config`, else `CAMBIST_CONFIG`, else the path where a pod mounts it. */
export function configFile(option: string | undefined): string {
  return option ?? process.env.CAMBIST_CONFIG ?? DEFAULT_CONFIG;
}

/** A number with its noun, whose plural ends in s. */
export function counted(amount: number, noun: string): string {
  return `${amount} ${noun}${amount === 1 ? '' : 's'}`;
}

/** Counts the problems of a severity. @returns undefined for 0 */
export function countOf<T>(found: readonly { readonly severity: T }[], wanted: T, noun: string): string | undefined {
  const amount = found.filter(({ severity }) => severity === wanted).length;
  return amount === 0 ? undefined : counted(amount, noun);
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
