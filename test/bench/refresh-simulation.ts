export interface RefreshOptions {
  readonly pods: number;
  /** All pods start within this time, evenly distributed. */
  readonly withinSeconds: number;
  readonly endSeconds: number;
  /** The time until the next exchange. Called for each exchange. */
  nextAfterSeconds(): number;
  /** From 0 to 1. */
  random(): number;
}

/** Returns the number of exchanges in each second, including the first exchange of each pod. */
export function simulateRefreshes(options: RefreshOptions): number[] {
  const { pods, withinSeconds, endSeconds, nextAfterSeconds, random } = options;
  const counts = new Array<number>(endSeconds).fill(0);
  for (let pod = 0; pod < pods; pod += 1) {
    let atSeconds = withinSeconds * random();
    while (atSeconds < endSeconds) {
      const second = Math.floor(atSeconds);
      counts[second] = (counts[second] ?? 0) + 1;
      atSeconds += nextAfterSeconds();
    }
  }
  return counts;
}
