import { CambistError } from '../errors.ts';

/** Holds back what would be too much at once for an authorization server. */
export interface Limiter {
  /**
   * Runs now, or when one before has ended, or not at all: then ERR_STS_UNAVAILABLE.
   * @param asker digest of the subject token; undefined for cambist itself
   */
  run<T>(asker: string | undefined, work: () => Promise<T>): Promise<T>;
}

/** Token requests to one server at once: more than a healthy one needs, few enough for one that is starting. */
const MAX_AT_ONCE = 64;
/** One subject token leaves a quarter of them to others: a server may take long over the requests of one alone. */
const MAX_AT_ONCE_EACH = 48;
/** Callers that may wait for their turn. */
const MAX_WAITING = 1024;

/** What one asker has there. */
interface Line {
  running: number;
  /** Who has waited longest comes first. */
  readonly waiting: Set<Turn>;
}

interface Turn {
  goOn(): void;
  giveUp(why: string): void;
}

/**
 * Askers take turns, so that one with many requests waits for itself and not the others for it.
 * @param name the authorization server's, for messages
 * @param maxWaitMs longest that anybody waits for a turn
 */
export function createLimiter(name: string, maxWaitMs: number): Limiter {
  let running = 0;
  let waiting = 0;
  /** Of whom something runs or waits; whose turn comes next is first. */
  const lines = new Map<string | undefined, Line>();

  function wait(line: Line): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        clearTimeout(timer);
        line.waiting.delete(turn);
        waiting -= 1;
      };
      const turn: Turn = {
        goOn() {
          leave();
          resolve();
        },
        giveUp(why) {
          leave();
          reject(new CambistError('ERR_STS_UNAVAILABLE', `authorization server "${name}" has too much to do: ${why}`));
        },
      };
      const timer = setTimeout(() => turn.giveUp(`no turn came in ${maxWaitMs} ms`), maxWaitMs);
      line.waiting.add(turn);
      waiting += 1;
      if (waiting <= MAX_WAITING) return;
      const last = [...longest(line).waiting].at(-1);
      last?.giveUp(`${MAX_WAITING} wait for their turn already`);
    });
  }

  /** Where most are waiting; this one where none is longer. */
  function longest(one: Line): Line {
    let found = one;
    for (const line of lines.values()) if (line.waiting.size > found.waiting.size) found = line;
    return found;
  }

  /** Lets those go on for whom there is a place. */
  function next(): void {
    if (waiting === 0) return;
    for (const [asker, line] of lines) {
      if (running >= MAX_AT_ONCE) return;
      const [turn] = line.waiting;
      if (turn === undefined || line.running >= MAX_AT_ONCE_EACH) continue;
      take(line);
      // To the end of the round.
      lines.delete(asker);
      lines.set(asker, line);
      turn.goOn();
    }
  }

  function take(line: Line): void {
    running += 1;
    line.running += 1;
  }

  return {
    async run(asker, work) {
      const line: Line = lines.get(asker) ?? { running: 0, waiting: new Set() };
      lines.set(asker, line);
      try {
        if (running < MAX_AT_ONCE && line.running < MAX_AT_ONCE_EACH) take(line);
        else await wait(line);
        try {
          return await work();
        } finally {
          running -= 1;
          line.running -= 1;
          next();
        }
      } finally {
        if (line.running === 0 && line.waiting.size === 0 && lines.get(asker) === line) lines.delete(asker);
      }
    },
  };
}
