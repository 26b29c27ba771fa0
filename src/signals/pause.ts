/** A wait that can end early. */
export interface Pause {
  wait(ms: number): Promise<void>;
  /** Ends the wait, and every later one. */
  end(): void;
}

export function createPause(): Pause {
  let isOver = false;
  let finish = (): void => {};
  return {
    wait(ms) {
      if (isOver) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        finish = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
    end() {
      isOver = true;
      finish();
    },
  };
}
