/** Shortest interval between two log lines about dropped connections. */
const LOG_INTERVAL_MS = 10_000;

/** Counts the connections that a listener drops. */
interface DropCount {
  readonly dropped: number;
  add(): void;
}

/** @param onDropped called at most every ten seconds, with the number of connections dropped since the last call */
export function createDropCount(onDropped: (count: number) => void): DropCount {
  let dropped = 0;
  let reported = 0;
  let nextReportMs = 0;
  return {
    get dropped() {
      return dropped;
    },
    add() {
      dropped += 1;
      const nowMs = performance.now();
      if (nowMs < nextReportMs) return;
      nextReportMs = nowMs + LOG_INTERVAL_MS;
      onDropped(dropped - reported);
      reported = dropped;
    },
  };
}
