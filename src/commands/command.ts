import { type Listen, readListen } from '../config/addresses.ts';

export const EXIT = { done: 0, failed: 1, usage: 2 } as const;

/** A command. Takes the arguments after its name and returns the exit code. */
export type Command = (args: readonly string[]) => Promise<number>;

/** Wrong usage of the command line: `main.ts` prints the message and a pointer to `--help`, and exits with 2. */
export class UsageError extends Error {}

/** Says why a command ends. @returns its exit code */
export function failed(message: string): number {
  console.error(message);
  return EXIT.failed;
}

/** Reads the address in a flag. @param start of the message about an invalid one @throws {UsageError} */
export function listenFrom(text: string, start: string): Listen {
  const reading = readListen(text);
  if ('problem' in reading) throw new UsageError(`${start} ${reading.problem}`);
  return reading.value;
}

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
