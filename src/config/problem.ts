/** A problem of a config file. */
export interface Problem {
  /** `warning`: the config may be valid elsewhere, for example with a missing secret file. */
  readonly severity: 'error' | 'warning';
  readonly file: string;
  /** 1-based. 0 for a problem without a position. */
  readonly line: number;
  readonly column: number;
  /** As in `routes[0].match.host`. `''` for the whole file. */
  readonly path: string;
  /** The problem and its fix. Never contains a secret. */
  readonly message: string;
}

/** Formats a problem as `file:line:col: path: message`, which editors and terminals can jump to. */
export function formatProblem(problem: Problem): string {
  const location = problem.line === 0 ? problem.file : `${problem.file}:${problem.line}:${problem.column}`;
  const path = problem.path === '' ? '' : `${problem.path}: `;
  const warning = problem.severity === 'warning' ? 'warning: ' : '';
  return `${location}: ${warning}${path}${problem.message}`;
}
