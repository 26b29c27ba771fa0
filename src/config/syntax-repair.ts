import type { Problem } from './problem.ts';

/** A syntax error of a text. */
export interface SyntaxFault {
  readonly code: string;
  readonly offset: number;
}

/** A syntax error that can be worked around, so that it hides no other problem. */
export interface Repair {
  readonly offset: number;
  readonly message: string;
  /** Texts to check instead. The one with the fewest problems is closest to what was meant. */
  readonly candidates: readonly RepairedText[];
  /** The repair is a guess: another syntax error may follow from it. */
  readonly isGuess: boolean;
}

interface RepairedText {
  readonly text: string;
  /** Moves a problem to its place in the original text; undefined where it follows from the repair. */
  restore(problem: Problem): Problem | undefined;
}

/** Finds a repair for the first error that has one. */
export function findRepair(text: string, faults: readonly SyntaxFault[]): Repair | undefined {
  if (faults.some(({ code }) => code === 'TAB_AS_INDENT')) {
    const repair = repairTabs(text);
    if (repair !== undefined) return repair;
  }
  const [first] = faults;
  return first && repairVariable(text, first.offset);
}

/** Leading white space that contains a tab. */
const TAB_INDENTATION = /^ *\t[ \t]*/gm;
/** Spaces that a tab may stand for. */
const TAB_WIDTHS = [2, 4, 8];

/** Undefined if the tab is elsewhere, as in `log:\tlevel: info`: the text would stay the same, and be repaired again and again. */
function repairTabs(text: string): Repair | undefined {
  const indentations = [...text.matchAll(TAB_INDENTATION)];
  if (indentations.length === 0) return undefined;
  const others = indentations.length - 1;
  const elsewhere = others === 0 ? '' : `, here and in ${others} other ${others === 1 ? 'line' : 'lines'}`;
  return {
    offset: indentations[0]?.index ?? 0,
    message: `tab in the indentation${elsewhere}: indent with spaces`,
    candidates: TAB_WIDTHS.map((width) => expandTabs(text, width)),
    isGuess: true,
  };
}

function expandTabs(text: string, width: number): RepairedText {
  const lines = text.split('\n');
  return {
    text: text.replaceAll(TAB_INDENTATION, (indentation) => indentation.replaceAll('\t', ' '.repeat(width))),
    restore(problem) {
      const indentation = /^[ \t]*/.exec(lines[problem.line - 1] ?? '')?.[0] ?? '';
      const added = (indentation.split('\t').length - 1) * (width - 1);
      return { ...problem, column: Math.max(1, problem.column - added) };
    },
  };
}

const VARIABLE = /\$\{[^\s{}]*\}/y;

/** @param offset of an error, which may be at the brace of a variable */
function repairVariable(text: string, offset: number): Repair | undefined {
  VARIABLE.lastIndex = offset - 1;
  const [variable] = VARIABLE.exec(text) ?? [];
  if (variable === undefined) return undefined;
  const start = offset - 1;
  const before = text.slice(0, start);
  const line = before.split('\n').length;
  const column = start - before.lastIndexOf('\n');
  return {
    offset: start,
    message:
      'variable in braces: cambist replaces no variables, and within { } or [ ] this is not valid YAML: after "env", ' +
      'write the bare name, as in { env: NAME }; put any other value in quotes',
    candidates: [
      {
        text: before + 'x'.repeat(variable.length) + text.slice(start + variable.length),
        restore: (problem) => (problem.line === line && problem.column === column ? undefined : problem),
      },
    ],
    isGuess: false,
  };
}
