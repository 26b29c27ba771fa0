import type { Problem } from './problem.ts';

/** Keys and list positions that lead from the top of a config file to a node. */
export type Path = readonly (string | number)[];

export interface Position {
  /** 1-based. */
  readonly line: number;
  /** 1-based. */
  readonly column: number;
}

/** Where the node of a path stands; `key`: where its key stands. What is not there is sought in the map that lacks it. */
export type Locate = (path: Path, what: 'key' | 'value') => Position;

/** What of a node a problem points at: what it holds, its key, or the key of one of its children. */
export type NodePart = 'value' | 'key' | { readonly child: string };

/** A node of a config file under check: knows where it stands and takes what is wrong with it. */
export interface ConfigNode {
  readonly path: Path;
  at(...segments: Path): ConfigNode;
  error(message: string, part?: NodePart): void;
  warn(message: string, part?: NodePart): void;
  /** Makes it broken without a message: its error is told elsewhere. */
  markBroken(): void;
  /** An error was found here or below: what merely follows from it is not worth a message of its own. */
  readonly broken: boolean;
}

/** All that is wrong with one file. */
export interface ProblemList {
  readonly root: ConfigNode;
  /** For what has no path, since the file cannot be read. */
  errorAt(position: Position, message: string): void;
  /** In the order of the file. */
  sorted(): Problem[];
}

export function createProblemList(file: string, locate: Locate): ProblemList {
  const problems: Problem[] = [];
  const broken = new Set<string>();

  function add(severity: Problem['severity'], path: Path, message: string, part: NodePart) {
    const position = typeof part === 'string' ? locate(path, part) : locate([...path, part.child], 'key');
    problems.push({ severity, file, ...position, path: formatPath(path), message });
    if (severity === 'error') markBroken(path);
  }

  function markBroken(path: Path) {
    for (let length = 0; length <= path.length; length += 1) broken.add(JSON.stringify(path.slice(0, length)));
  }

  function node(path: Path): ConfigNode {
    return {
      path,
      at: (...segments) => node([...path, ...segments]),
      error: (message, part = 'value') => add('error', path, message, part),
      warn: (message, part = 'value') => add('warning', path, message, part),
      markBroken: () => markBroken(path),
      get broken() {
        return broken.has(JSON.stringify(path));
      },
    };
  }

  return {
    root: node([]),
    errorAt: (position, message) => problems.push({ severity: 'error', file, ...position, path: '', message }),
    sorted: () => problems.toSorted(byPosition),
  };
}

export function byPosition(one: Problem, other: Problem): number {
  return one.line - other.line || one.column - other.column;
}

/** `routes[0].match.host`; a key that is no plain word stands in brackets and quotes. */
export function formatPath(path: Path): string {
  let text = '';
  for (const segment of path) {
    if (typeof segment === 'number') text += `[${segment}]`;
    else if (!/^[\w$-]+$/.test(segment)) text += `[${JSON.stringify(segment)}]`;
    else text += text === '' ? segment : `.${segment}`;
  }
  return text;
}

/** What was read from a value, or what is wrong with it and how to fix it. */
export type Reading<T> = { readonly value: T } | { readonly problem: string };

/** The value of a reading; what is wrong goes to the place, and there is none. */
export function valueOrReport<T>(reading: Reading<T>, node: ConfigNode): T | undefined {
  if ('value' in reading) return reading.value;
  node.error(reading.problem);
  return undefined;
}
