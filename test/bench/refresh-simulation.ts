export interface RefreshOptions {
  readonly pods: number;
  /** All start within so many seconds, evenly spread. */
  readonly withinSeconds: number;
  readonly endSeconds: number;
  /** How long after an exchange the next one comes; asked anew for each. */
  nextAfterSeconds(): number;
  /** From 0 to 1. */
  random(): number;
}

/** Exchanges that an authorization server gets in each second, the first one of each pod included. */
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
