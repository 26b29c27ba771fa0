import type { Config } from '../config/config.ts';
import { type LoadOptions, loadConfig } from '../config/load.ts';
import type { Team } from '../config/teams.ts';
import { formatProblem, type Problem } from '../documents/config-node.ts';
import type { Logger } from '../observability/logger.ts';
import { printable } from '../observability/printable.ts';
import { readTeams } from '../teams/team-files.ts';

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

/** Logs each problem at its severity, with its position if it has one. */
export function logProblems(logger: Logger, problems: readonly Problem[], team?: string): void {
  for (const problem of problems) {
    const { severity, line, column, path } = problem;
    const fields = { ...(line > 0 && { line, column }), ...(path !== '' && { path }), team };
    if (severity === 'error') logger.error(fields, formatProblem(problem));
    else logger.warn(fields, formatProblem(problem));
  }
}

/** A team could fill the log. */
const MAX_LOGGED = 100;

/** Logs the problems of a team's files, and whether its region is open. */
export function logTeam(logger: Logger, { grants: { name }, files, isOpen, routes }: Team): void {
  const problems = files.flatMap((file) => file.problems);
  logProblems(logger, problems.slice(0, MAX_LOGGED), name);
  const more = problems.length - MAX_LOGGED;
  if (more > 0) logger.warn({ team: name }, `and ${more} more problems: run "cambist validate"`);
  if (isOpen) logger.info({ team: name, routes: routes.length }, 'routes of a team loaded');
  else logger.error({ team: name }, 'the routes of a team are invalid; its requests get 503 until they are fixed');
}

/** Loads a config file. Prints its problems if it is invalid. @returns undefined if it is invalid */
export async function loadOrReport(
  file: string,
  options: LoadOptions = {},
): Promise<{ config: Config; problems: readonly Problem[] } | undefined> {
  const { config, problems } = await readTeams(await loadConfig(file, options));
  if (config !== undefined) return { config, problems };
  printProblems(problems);
  return undefined;
}
