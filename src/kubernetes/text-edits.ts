/** Replaces a part of a text. */
export interface TextEdit {
  readonly start: number;
  readonly end: number;
  readonly text: string;
  /** Of two insertions at the same place, the deeper one comes first. */
  readonly depth: number;
}

/**
 * Applies edits to the part of a text that begins at `offset`.
 * @returns undefined if two edits replace the same character
 */
export function applyEdits(part: string, offset: number, edits: readonly TextEdit[]): string | undefined {
  const sorted = edits.toSorted((a, b) => a.start - b.start || a.end - b.end || b.depth - a.depth);
  const pieces: string[] = [];
  let position = offset;
  for (const { start, end, text } of sorted) {
    if (start < position) return undefined;
    pieces.push(part.slice(position - offset, start - offset), text);
    position = end;
  }
  return pieces.join('') + part.slice(position - offset);
}

export function lineStart(text: string, offset: number): number {
  return text.lastIndexOf('\n', offset - 1) + 1;
}

/** The start of the next line, or the end of the text. */
export function nextLine(text: string, offset: number): number {
  const end = text.indexOf('\n', offset);
  return end < 0 ? text.length : end + 1;
}

/** A byte order mark takes no column. */
export function columnOf(text: string, offset: number): number {
  const start = lineStart(text, offset);
  return offset - start - (start === 0 && text.startsWith('\uFEFF') ? 1 : 0);
}

/** Is there only white space before this place on its line? */
export function isFirstOnLine(text: string, offset: number): boolean {
  return text.slice(lineStart(text, offset), offset).trim() === '';
}
