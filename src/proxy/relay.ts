import type { ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { callerHeaders, headerValues } from './headers.ts';

/** Hands an upstream's answer to the caller as it comes: bytes unchanged, event by event, no faster than the caller reads. */
export interface Relay {
  readonly status: number;
  /** The value of a header, by lower-case name. */
  header(name: string): string | undefined;
  /** Writes the head and lets the body through. */
  start(response: ServerResponse): void;
  data(chunk: Buffer): void;
  end(): void;
  /** The upstream broke off: the caller sees a reset, never a clean end. */
  fail(): void;
}

type Controller = Dispatcher.DispatchController;

/** @param requestIsWhole false where the upstream answered before it had the whole request: the connection then ends */
export function createRelay(controller: Controller, status: number, requestIsWhole: () => boolean): Relay {
  const headers = callerHeaders((controller.rawHeaders ?? []) as Buffer[]);
  let response: ServerResponse | undefined;
  let wrote = false;

  return {
    status,
    header: (name) => headerValues(headers, name)[0],
    start(to) {
      response = to;
      if (!requestIsWhole()) headers.push('connection', 'close');
      to.writeHead(status, headers);
      to.on('drain', () => controller.resume());
      // A stream may be silent for hours after its head, so the head must not wait for it; a short body is worth one tick.
      process.nextTick(() => {
        if (!wrote) to.flushHeaders();
      });
    },
    data(chunk) {
      wrote = true;
      if (response?.write(chunk) === false) controller.pause();
    },
    end() {
      wrote = true;
      response?.end();
    },
    fail() {
      // To HTTP/1.0 the end of the connection is the end of the body, so that only a reset says that it was none.
      if (response?.req.httpVersion === '1.0') response.socket?.resetAndDestroy();
      else response?.destroy();
    },
  };
}
