/** One thing that is wrong with a config file, as a person would want to read it. */
export interface Problem {
  /** `warning`: the file may be right elsewhere, a missing secret file for example. */
  readonly severity: 'error' | 'warning';
  readonly file: string;
  /** 1-based; 0 where the problem has no place in the file. */
  readonly line: number;
  readonly column: number;
  /** As in `routes[0].match.host`; `''` for the whole file. */
  readonly path: string;
  /** What is wrong, and how to fix it. Never the value of a secret. */
  readonly message: string;
}

/** `file:line:col: path: message`, the form that editors and terminals can jump to. */
export function formatProblem(problem: Problem): string {
  const location = problem.line === 0 ? problem.file : `${problem.file}:${problem.line}:${problem.column}`;
  const path = problem.path === '' ? '' : `${problem.path}: `;
  const warning = problem.severity === 'warning' ? 'warning: ' : '';
  return `${location}: ${warning}${path}${problem.message}`;
}
