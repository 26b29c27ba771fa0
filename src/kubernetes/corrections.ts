/** A replacement in a text: the offset, the number of characters that go, and those that come. */
export type Correction = readonly [offset: number, removed: number, added: string];

/** Texts agree again where this many characters are the same, with or without the white space between them. */
const AGREEMENT = 24;

/** The most characters of one difference. Those of white space and quotes are far below. */
const MAX_DIFFERENCE = 2_000;
/** The most space of the record of a pod; see `spaceOf`. Kubernetes accepts 256 KiB of annotations. */
export const MAX_RECORD = 16_000;

/** The space in a record that a correction takes beside its characters. */
const OVERHEAD = 12;

/** The space that corrections take in a record. */
export function spaceOf(corrections: readonly Correction[]): number {
  return corrections.reduce((sum, [, removed, added]) => sum + removed + added.length + OVERHEAD, 0);
}

/** @returns the corrections that turn one text into another; undefined if they take more space */
export function findCorrections(from: string, to: string, space: number): Correction[] | undefined {
  const found: Correction[] = [];
  const [fromText, toText] = [compact(from), compact(to)];
  let left = 0;
  let right = 0;
  let taken = 0;
  while (left < from.length || right < to.length) {
    if (left < from.length && from[left] === to[right]) {
      left += 1;
      right += 1;
      continue;
    }
    const next = findAgreement(fromText, left, toText, right);
    if (next === undefined) return undefined;
    const correction: Correction = [left, next.removed, to.slice(right, right + next.added)];
    taken += spaceOf([correction]);
    if (taken > space) return undefined;
    found.push(correction);
    left += next.removed;
    right += next.added;
  }
  return found;
}

/** A text with and without its white space. */
interface CompactText {
  readonly text: string;
  /** Has spaces for escaped line breaks. */
  readonly spaced: string;
  readonly compact: string;
  /** The number of characters of `compact` before each place in the text. */
  readonly before: Uint32Array;
}

function compact(text: string): CompactText {
  const spaced = text.replaceAll('\\n', '  ');
  const before = new Uint32Array(text.length + 1);
  for (let index = 0; index < text.length; index += 1) {
    before[index + 1] = (before[index] ?? 0) + (isBlank(spaced[index]) ? 0 : 1);
  }
  return { text, spaced, compact: spaced.replace(/[ \t\r\n]/g, ''), before };
}

function isBlank(character: string | undefined): boolean {
  return character === ' ' || character === '\t' || character === '\r' || character === '\n';
}

function findAgreement(from: CompactText, left: number, to: CompactText, right: number) {
  for (let total = 1; total <= MAX_DIFFERENCE; total += 1) {
    for (let removed = 0; removed <= total; removed += 1) {
      const added = total - removed;
      if (agree(from, left + removed, to, right + added)) return { removed, added };
    }
  }
  return undefined;
}

function agree(from: CompactText, left: number, to: CompactText, right: number): boolean {
  if (left > from.text.length || right > to.text.length) return false;
  if (startsAlike(from.text, left, to.text, right)) return true;
  const character = to.spaced[right];
  if (character === undefined || character !== from.spaced[left] || isBlank(character)) return false;
  return startsAlike(from.compact, from.before[left] ?? 0, to.compact, to.before[right] ?? 0);
}

function startsAlike(from: string, left: number, to: string, right: number): boolean {
  const ahead = to.slice(right, right + AGREEMENT);
  return from.startsWith(ahead, left) && (ahead.length === AGREEMENT || from.length - left === ahead.length);
}

/** kubectl refuses any other character, even in a comment. */
const PRINTABLE = /^[\t\n\r\x20-\x7E\x85\xA0-\uD7FF\uE000-\uFFFD\u{10000}-\u{10FFFF}]*$/u;

export function isPrintable([, , added]: Correction): boolean {
  return PRINTABLE.test(added);
}

/** @returns undefined if the corrections do not fit the text */
export function applyCorrections(text: string, corrections: readonly Correction[]): string | undefined {
  const pieces: string[] = [];
  let position = 0;
  for (const [offset, removed, added] of corrections) {
    if (offset < position || removed < 0 || offset + removed > text.length) return undefined;
    pieces.push(text.slice(position, offset), added);
    position = offset + removed;
  }
  return pieces.join('') + text.slice(position);
}
