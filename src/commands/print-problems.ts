import type { Config } from '../config/config.ts';
import { formatProblem, type Problem } from '../config/config-node.ts';
import { type LoadOptions, loadConfig } from '../config/load.ts';
import { printable } from '../observability/printable.ts';
import { excerptOf } from './source-excerpt.ts';

const COLOURS = { error: 31, warning: 33 } as const;
const DIM = 2;

/** Tells whether to colour the output of a stream (https://no-color.org). */
export function showsColour({ isTTY }: { readonly isTTY?: boolean }): boolean {
  return isTTY === true && (process.env.NO_COLOR ?? '') === '' && process.env.TERM !== 'dumb';
}

/**
 * Formats a problem, followed by its source line with a caret. Values in the line are masked unless they cannot be secret.
 * @param text the text of the file
 */
export function describeProblem(problem: Problem, text: string, colour: boolean): string {
  const paint = (part: string, code: number) => (colour ? `\x1b[${code}m${part}\x1b[0m` : part);
  const { severity, line, column } = problem;
  const sentence = printable(formatProblem(problem).replaceAll('\n', ' '));
  const source = line === 0 ? undefined : text.split(/\r?\n/)[line - 1];
  const excerpt = source === undefined ? undefined : excerptOf(source, column, problem);
  if (excerpt === undefined) return sentence;
  const number = `${line}`;
  const gutter = paint(`  ${' '.repeat(number.length)} | `, DIM);
  return [
    sentence,
    `${paint(`  ${number} | `, DIM)}${printable(excerpt.text.replaceAll('\t', ' '))}`,
    `${gutter}${' '.repeat(excerpt.column - 1)}${paint('^', COLOURS[severity])}`,
  ].join('\n');
}

/** Loads a config file. Prints its problems if it is invalid. @returns undefined if it is invalid */
export async function loadOrReport(
  file: string,
  options: LoadOptions = {},
): Promise<{ config: Config; problems: readonly Problem[] } | undefined> {
  const { config, problems, text } = await loadConfig(file, options);
  if (config !== undefined) return { config, problems };
  const colour = showsColour(process.stderr);
  for (const problem of problems) console.error(describeProblem(problem, text, colour));
  return undefined;
}
