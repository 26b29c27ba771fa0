import type { Config } from '../config/config.ts';
import { formatProblem, type Problem } from '../config/config-node.ts';
import { type LoadOptions, loadConfig } from '../config/load.ts';
import { printable } from '../observability/printable.ts';

/** Tells whether to colour the output of a stream (https://no-color.org). */
export function showsColour({ isTTY }: { readonly isTTY?: boolean }): boolean {
  return isTTY === true && (process.env.NO_COLOR ?? '') === '' && process.env.TERM !== 'dumb';
}

/** A problem in one line, without characters of the config that control a terminal. */
export function describeProblem(problem: Problem): string {
  return printable(formatProblem(problem).replaceAll('\n', ' '));
}

/** Prints problems on standard error. */
export function printProblems(problems: readonly Problem[]): void {
  for (const problem of problems) console.error(describeProblem(problem));
}

/** Loads a config file. Prints its problems if it is invalid. @returns undefined if it is invalid */
export async function loadOrReport(
  file: string,
  options: LoadOptions = {},
): Promise<{ config: Config; problems: readonly Problem[] } | undefined> {
  const { config, problems } = await loadConfig(file, options);
  if (config !== undefined) return { config, problems };
  printProblems(problems);
  return undefined;
}
