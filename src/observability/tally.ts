/** A count by name. A missing name never occurred and is not expected to. */
export type Tally<Name extends string> = Partial<Record<Name, number>>;

export function add<Name extends string>(tally: Tally<Name>, name: Name, times = 1): void {
  tally[name] = (tally[name] ?? 0) + times;
}

/** Adds missing names with the count 0. @returns the tally */
export function expect<Name extends string>(tally: Tally<Name>, names: readonly Name[]): Tally<Name> {
  for (const name of names) add(tally, name, 0);
  return tally;
}

export function total<Name extends string>(tally: Tally<Name>): number {
  return Object.values<number>(tally as Record<Name, number>).reduce((sum, times) => sum + times, 0);
}
