import { type AST, RegExpParser } from '@eslint-community/regexpp';

/** A set of characters, as indexes of `ALPHABET`. */
type Chars = ReadonlySet<number>;

/** ASCII, and one of each kind beyond: white space, line ends, letters, marks, surrogates. */
const ALPHABET = [
  ...Array.from({ length: 128 }, (_, code) => String.fromCharCode(code)),
  ...'\u0085\u00a0éß\u0301\u200b\u2028\ufeffａ\ud83d',
];
const ALL: Chars = new Set(ALPHABET.keys());

/** An earlier place that can consume the same text as a later loop: the start of the search, or another loop. */
interface Source {
  readonly chars: Chars;
  /** Each round of the loop consumes one of each. */
  readonly needs: readonly Chars[];
  /** The text between the two consumes one of each. */
  readonly between: readonly Chars[];
}

/**
 * Finds the loops of a regular expression for which a backtracking engine may take more than linear time: a text that the loop
 * consumes in rounds can also be left to an earlier loop, or to a later start of the search, and what follows can fail. Unlike
 * checkers that try inputs or build automata, it takes microseconds and never gives up. It may report a loop that is harmless.
 */
export function superlinearLoops(expression: string): string[] {
  const { pattern, flags } = new RegExpParser().parseLiteral(expression);
  const found = new Set<string>();
  const charsOfLeaf = new Map<string, Chars>();

  /** The characters that a part can consume, in any order. */
  function charsOf(node: AST.Node): Chars {
    switch (node.type) {
      case 'Character':
      case 'CharacterClass':
      case 'CharacterSet': {
        const known = charsOfLeaf.get(node.raw);
        if (known !== undefined) return known;
        const one = new RegExp(`^${node.raw}$`, flags.raw.replace(/[gmy]/g, ''));
        const chars = new Set([...ALL].filter((index) => one.test(ALPHABET[index] as string)));
        charsOfLeaf.set(node.raw, chars);
        return chars;
      }
      case 'Quantifier':
        return charsOf(node.element);
      case 'Pattern':
      case 'Group':
      case 'CapturingGroup':
        return union(node.alternatives.map(charsOf));
      case 'Alternative':
        return union(node.elements.map(charsOf));
      default:
        return new Set();
    }
  }

  /** Sets of characters of which a part always consumes one each. */
  function needsOf(node: AST.Node): readonly Chars[] {
    switch (node.type) {
      case 'Quantifier':
        return node.min === 0 ? [] : needsOf(node.element);
      case 'Group':
      case 'CapturingGroup': {
        const each = node.alternatives.map(needsOf);
        if (each.length === 1) return each[0] ?? [];
        return each.some((needs) => needs.length === 0) ? [] : [union(each.map(([first]) => first ?? ALL))];
      }
      case 'Alternative':
        return node.elements.flatMap(needsOf);
      case 'Assertion':
        return assertedBefore(node);
      case 'Character':
      case 'CharacterClass':
      case 'CharacterSet':
        return [charsOf(node)];
      default:
        return [];
    }
  }

  /** The characters that an assertion demands before it. */
  function assertedBefore(node: AST.Assertion): readonly Chars[] {
    if (node.kind === 'start')
      return flags.multiline ? [new Set([...'\n\r\u2028'].map((end) => ALPHABET.indexOf(end)))] : [new Set()];
    if (node.kind !== 'lookbehind') return [];
    const last = node.alternatives.map(({ elements }) => lastCharsOf(elements, node.negate));
    const chars = union(last);
    return [node.negate ? new Set([...ALL].filter((index) => !chars.has(index))) : chars];
  }

  /** The characters that a lookbehind demands, or excludes. A negative one excludes a character only if it consists of one. */
  function lastCharsOf(elements: readonly AST.Element[], isNegative: boolean): Chars {
    const last = elements.at(-1);
    if (isNegative) return elements.length === 1 && last?.type.startsWith('Character') ? charsOf(last) : new Set();
    return last === undefined || isOptional(last) ? ALL : charsOf(last);
  }

  /** Walks through a part. @returns the sources for what follows */
  function walk(node: AST.Node, before: readonly Source[], canFail: boolean): Source[] {
    switch (node.type) {
      case 'Pattern':
      case 'Group':
      case 'CapturingGroup':
        return node.alternatives.flatMap((each) => walk(each, before, canFail));
      case 'Alternative': {
        let sources = [...before];
        for (const [index, element] of node.elements.entries()) {
          const rest = node.elements.slice(index + 1);
          sources = walk(element, sources, canFail || rest.some((each) => !isOptional(each)));
        }
        return sources;
      }
      case 'Quantifier': {
        const { element, min, max } = node;
        const isLoop = max === Number.POSITIVE_INFINITY;
        const loop = { chars: charsOf(element), needs: needsOf(element), between: [] };
        if (isLoop && canFail && before.some((source) => isShared(source, loop))) found.add(node.raw);
        if (isLoop && hasAmbiguousChoice(element)) found.add(node.raw);
        const once = walk(element, before, canFail || isLoop);
        const inside = max === 1 ? once : walk(element, isLoop ? [...once, loop] : once, canFail || isLoop);
        return [...(min === 0 ? before : []), ...inside, ...(isLoop ? [loop] : [])];
      }
      case 'Assertion':
        if ('alternatives' in node) for (const each of node.alternatives) walk(each, before, true);
        return passed(before, assertedBefore(node));
      default:
        return passed(before, needsOf(node));
    }
  }

  /** Can a loop begin a round in two ways? */
  function hasAmbiguousChoice(element: AST.Node): boolean {
    if (element.type !== 'Group' && element.type !== 'CapturingGroup') return false;
    const firsts = element.alternatives.map(({ elements }) => {
      const end = elements.findIndex((each) => !isOptional(each));
      return union(elements.slice(0, end === -1 ? undefined : end + 1).map(charsOf));
    });
    return firsts.some((first, index) => firsts.slice(index + 1).some((other) => intersects(first, other)));
  }

  walk(pattern, flags.sticky ? [] : [{ chars: ALL, needs: [], between: [] }], false);
  return [...found];
}

/** Can a text be rounds of both loops, and what is between them? */
function isShared(source: Source, loop: Source): boolean {
  const shared = new Set([...loop.chars].filter((index) => source.chars.has(index)));
  return (
    shared.size > 0 && [...source.needs, ...source.between, ...loop.needs].every((needed) => intersects(needed, shared))
  );
}

function passed(sources: readonly Source[], needs: readonly Chars[]): Source[] {
  return sources.map((source) => ({ ...source, between: [...source.between, ...needs] }));
}

function isOptional(node: AST.Element): boolean {
  switch (node.type) {
    case 'Quantifier':
      return node.min === 0 || isOptional(node.element);
    case 'Group':
    case 'CapturingGroup':
      return node.alternatives.some(({ elements }) => elements.every(isOptional));
    default:
      return false;
  }
}

function union(sets: readonly Chars[]): Chars {
  return new Set(sets.flatMap((set) => [...set]));
}

function intersects(a: Chars, b: Chars): boolean {
  return [...a].some((each) => b.has(each));
}
