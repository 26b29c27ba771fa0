/**
 * Finds the known name that was probably meant, by edit distance. Undefined if no name is similar, or if the written text is a
 * prefix of several.
 */
export function nearest(written: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Number.POSITIVE_INFINITY;
  if (written.length > MAX_LENGTH || known.filter((name) => name.startsWith(`${written}_`)).length > 1)
    return undefined;
  for (const name of known) {
    const distance = editDistance(written.toLowerCase().replaceAll('-', '_'), name.toLowerCase().replaceAll('-', '_'));
    if (distance < bestDistance) [best, bestDistance] = [name, distance];
  }
  return bestDistance <= Math.max(1, Math.floor(Math.max(written.length, best?.length ?? 0) / 3)) ? best : undefined;
}

/** Longer than any name in a config file. The time for the distance grows with the square. */
const MAX_LENGTH = 64;

/** Number of insertions, deletions, replacements and swaps of neighbours between two words. */
function editDistance(from: string, to: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const same = from[i - 1] === to[j - 1];
      let cost = Math.min(at(last, j) + 1, at(row, j - 1) + 1, at(last, j - 1) + (same ? 0 : 1));
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        cost = Math.min(cost, at(beforeLast, j - 2) + 1);
      }
      row.push(cost);
    }
    [beforeLast, last] = [last, row];
  }
  return at(last, to.length);
}

function at(row: readonly number[], index: number): number {
  return row[index] ?? Number.POSITIVE_INFINITY;
}
