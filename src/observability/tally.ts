/** How often each of some names came. One that is missing never did, and is not expected to. */
export type Tally<Name extends string> = Partial<Record<Name, number>>;

export function add<Name extends string>(tally: Tally<Name>, name: Name, times = 1): void {
  tally[name] = (tally[name] ?? 0) + times;
}

/** Makes names present, at 0 where they did not come yet. @returns the tally */
export function expect<Name extends string>(tally: Tally<Name>, names: readonly Name[]): Tally<Name> {
  for (const name of names) add(tally, name, 0);
  return tally;
}

export function total<Name extends string>(tally: Tally<Name>): number {
  return Object.values<number>(tally as Record<Name, number>).reduce((sum, times) => sum + times, 0);
}
