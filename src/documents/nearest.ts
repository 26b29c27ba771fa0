import leven from 'leven';

/** Longer than any name in a config file. The time for the distance grows with the square. */
const MAX_LENGTH = 64;

/** Finds the known name that was probably meant. Undefined if no name is similar, or if the written text is a prefix of several. */
export function nearest(written: string, known: readonly string[]): string | undefined {
  if (written.length > MAX_LENGTH || known.filter((name) => name.startsWith(`${written}_`)).length > 1)
    return undefined;
  const plain = (name: string): string => name.toLowerCase().replaceAll('-', '_');
  const letters = (name: string): string => [...plain(name)].sort().join('');
  const distances = known.map((name) => ({ name, distance: leven(plain(written), plain(name)) }));
  const [best] = distances.toSorted((one, other) => one.distance - other.distance);
  if (best === undefined) return undefined;
  // Two letters that are swapped have a distance of two.
  const most = letters(written) === letters(best.name) ? 2 : Math.floor(Math.max(written.length, best.name.length) / 3);
  return best.distance <= Math.max(1, most) ? best.name : undefined;
}
