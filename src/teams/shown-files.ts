import { basename } from 'node:path';
import type { Team, TeamFile } from '../config/teams.ts';
import { formatProblem } from '../documents/config-node.ts';

/** Labels, alerts and pages show the names of files. No key of a ConfigMap has these characters. */
export const ODD_CHARACTERS = /[^\w.-]/g;

/** Metrics and pages show this many files of a team, which may write far more. */
const MAX_SHOWN = 100;

/** The files by the names that others show, as in `billing/ledger.yaml`, or `billing` for the folder. Those with errors come first. */
export function shownFiles({ grants: { name, folder }, files }: Pick<Team, 'grants' | 'files'>): Map<string, TeamFile> {
  const invalidFirst = files.toSorted((one, other) => Number(one.isValid) - Number(other.isValid));
  return new Map(
    invalidFirst.slice(0, MAX_SHOWN).map((file) => {
      const own = basename(file.path).replace(ODD_CHARACTERS, '?');
      return [file.path === folder ? name : `${name}/${own}`, file];
    }),
  );
}

/** Characters of an error, which quotes what a team wrote. */
const MAX_ERROR = 500;

/** The first error of a file, and their number. @param name as in `shownFiles` */
export function errorSummary(name: string, { problems }: TeamFile): { first: string; count: number } {
  const errors = problems.filter(({ severity }) => severity === 'error');
  const [first] = errors;
  return { first: first ? formatProblem({ ...first, file: name }).slice(0, MAX_ERROR) : '', count: errors.length };
}
