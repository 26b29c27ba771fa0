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

/** Keys and list indexes from the root of a config file to a node. */
export type Path = readonly (string | number)[];

/** Both are 1-based. */
export type Position = Pick<Problem, 'line' | 'column'>;

/** Finds the position of a node or of its key. For a missing node, the position of the nearest ancestor. */
export type Locate = (path: Path, what: 'key' | 'value') => Position;

/** The part of a node that a problem points at: its value, its key, or the key of a child. */
type NodePart = 'value' | 'key' | { readonly child: string };

/** A node of the config file. Problems are reported to it, and get its path and position. */
export interface ConfigNode {
  readonly path: Path;
  at(...segments: Path): ConfigNode;
  error(message: string, part?: NodePart): void;
  warn(message: string, part?: NodePart): void;
  /** Reports a missing key of this map, unless the key has an error of its own. @param why the need for it, or the fix */
  missing(key: string, why: string): void;
  /** Marks it as broken without a message, because the error is reported elsewhere. */
  markBroken(): void;
  /** True after an error here or below. Errors that only follow from it are not reported. */
  readonly broken: boolean;
}

export type ProblemList = ReturnType<typeof createProblemList>;

export function createProblemList(file: string, locate: Locate) {
  const problems: Problem[] = [];
  const broken = new Set<string>();
  const errors = new Set<string>();

  function add(severity: Problem['severity'], path: Path, message: string, part: NodePart) {
    const shown = formatPath(path);
    const text = `${shown}: ${message}`;
    // The error says it already.
    if (severity === 'warning' && errors.has(text)) return;
    const position = typeof part === 'string' ? locate(path, part) : locate([...path, part.child], 'key');
    problems.push({ severity, file, ...position, path: shown, message });
    if (severity === 'warning') return;
    errors.add(text);
    markBroken(path);
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
      missing(key, why) {
        if (!this.at(key).broken) this.error(`missing key "${key}": ${why}`);
      },
      markBroken: () => markBroken(path),
      get broken() {
        return broken.has(JSON.stringify(path));
      },
    };
  }

  return {
    root: node([]),
    /** Reports an error without a path, for a file that cannot be parsed. */
    errorAt: (position: Position, message: string) =>
      void problems.push({ severity: 'error', file, ...position, path: '', message }),
    /** In the order of the file. */
    sorted: (): Problem[] => problems.toSorted(byPosition),
  };
}

export function byPosition(one: Problem, other: Problem): number {
  return one.line - other.line || one.column - other.column;
}

/** Formats a path as in `routes[0].match.host`. A key with unusual characters is in brackets and quotes. */
export function formatPath(path: Path): string {
  let text = '';
  for (const segment of path) {
    if (typeof segment === 'number') text += `[${segment}]`;
    else if (!/^[\w$-]+$/.test(segment)) text += `[${JSON.stringify(segment)}]`;
    else text += text === '' ? segment : `.${segment}`;
  }
  return text;
}

/** A parsed value, or its problem and how to fix it. */
export type Reading<T> = { readonly value: T } | { readonly problem: string };

export function readEach<T>(
  written: readonly (string | undefined)[] | undefined,
  node: ConfigNode,
  read: (text: string, node: ConfigNode) => Reading<T>,
): T[] {
  const values = (written ?? []).flatMap((text, index) => {
    const entry = node.at(index);
    return text === undefined ? [] : (valueOrReport(read(text, entry), entry) ?? []);
  });
  return [...new Set(values)];
}

export function valueOrReport<T>(reading: Reading<T>, node: ConfigNode): T | undefined {
  if ('value' in reading) return reading.value;
  node.error(reading.problem);
  return undefined;
}
