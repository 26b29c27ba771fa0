import { EXIT } from './command.ts';

export interface StopSignals {
  /** Asks for an end in order. */
  readonly first: Promise<NodeJS.Signals>;
  /** Aborted by the next one, which asks for an end at once. */
  readonly second: AbortSignal;
}

/** A third signal, or what does not end within a moment of the second, ends without a word. */
const HURRY_MS = 2000;

/** Hears SIGTERM and SIGINT from here on. */
export function stopSignals(): StopSignals {
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
