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
export type Spot = 'value' | 'key' | { readonly child: string };

/** A node of a config file under check: knows where it stands and takes what is wrong with it. */
export interface Place {
  readonly path: Path;
  at(...segments: Path): Place;
  error(message: string, spot?: Spot): void;
  warn(message: string, spot?: Spot): void;
  /** Makes it broken without a message: its error is told elsewhere. */
  spoil(): void;
  /** An error was found here or below: what merely follows from it is not worth a message of its own. */
  readonly broken: boolean;
}

/** All that is wrong with one file. */
export interface ProblemList {
  readonly root: Place;
  /** For what has no path, since the file cannot be read. */
  errorAt(position: Position, message: string): void;
  /** In the order of the file. */
  sorted(): Problem[];
}

export function createProblemList(file: string, locate: Locate): ProblemList {
  const problems: Problem[] = [];
  const broken = new Set<string>();

  function add(severity: Problem['severity'], path: Path, message: string, spot: Spot) {
    const position = typeof spot === 'string' ? locate(path, spot) : locate([...path, spot.child], 'key');
    problems.push({ severity, file, ...position, path: formatPath(path), message });
    if (severity === 'error') spoil(path);
  }

  function spoil(path: Path) {
    for (let length = 0; length <= path.length; length += 1) broken.add(JSON.stringify(path.slice(0, length)));
  }

  function place(path: Path): Place {
    return {
      path,
      at: (...segments) => place([...path, ...segments]),
      error: (message, spot = 'value') => add('error', path, message, spot),
      warn: (message, spot = 'value') => add('warning', path, message, spot),
      spoil: () => spoil(path),
      get broken() {
        return broken.has(JSON.stringify(path));
      },
    };
  }

  return {
    root: place([]),
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
export type Reading<T> = { readonly value: T } | { readonly wrong: string };

/** The value of a reading; what is wrong goes to the place, and there is none. */
export function take<T>(reading: Reading<T>, place: Place): T | undefined {
  if ('value' in reading) return reading.value;
  place.error(reading.wrong);
  return undefined;
}
