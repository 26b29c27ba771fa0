import { EXIT } from './command.ts';

/** The process exits this long after the second signal, or on a third. */
const HURRY_MS = 2000;

/** @returns the first signal, for a graceful shutdown, and what the second one aborts */
export function stopSignals() {
  const second = new AbortController();
  const exit = (): never => process.exit(EXIT.failed);
  const first = new Promise<NodeJS.Signals>((resolve) => {
    let seen = 0;
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      process.on(signal, () => {
        seen += 1;
        if (seen === 1) resolve(signal);
        if (seen === 2) {
          second.abort();
          setTimeout(exit, HURRY_MS).unref();
        }
        if (seen > 2) exit();
      });
    }
  });
  return { first, second: second.signal };
}
