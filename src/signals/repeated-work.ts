/** Work that is done once at a time, and again after a pause. */
export interface RepeatedWork {
  /** Does the work now, or joins the one in progress. Never rejects. @returns whether it succeeded */
  run(): Promise<boolean>;
  readonly isRunning: boolean;
  /** Repeats the work no more. Work in progress goes on. */
  stop(): void;
}

export interface RepeatedWorkOptions {
  readonly work: () => Promise<boolean>;
  /** The pause after work. */
  readonly pauseMs: (succeeded: boolean) => number;
  readonly onError: (error: unknown) => void;
}

export function createRepeatedWork({ work, pauseMs, onError }: RepeatedWorkOptions): RepeatedWork {
  let running: Promise<boolean> | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;

  function run(): Promise<boolean> {
    if (running !== undefined) return running;
    running = work()
      .catch((error: unknown) => {
        onError(error);
        return false;
      })
      .finally(() => {
        running = undefined;
      });
    void running.then(repeatLater);
    return running;
  }

  function repeatLater(succeeded: boolean): void {
    clearTimeout(timer);
    if (!isStopped) timer = setTimeout(() => void run(), pauseMs(succeeded)).unref();
  }

  return {
    run,
    get isRunning() {
      return running !== undefined;
    },
    stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
