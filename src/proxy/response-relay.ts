import type { ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { MAX_TEXT_BYTES } from '../transport/pump.ts';
import type { Rewriter } from './endpoint-event.ts';
import { headerValues } from './headers.ts';

/** Hands an upstream's answer to the caller as it comes: bytes unchanged, event by event, no faster than the caller reads. */
export interface ResponseRelay {
  readonly status: number;
  /** The value of a header, by lower-case name. */
  header(name: string): string | undefined;
  /** Writes the head and lets the body through. */
  start(response: ServerResponse): void;
  data(chunk: Buffer): void;
  end(): void;
  /** The upstream broke off: the caller sees a reset, never a clean end. */
  fail(): void;
  /** Did it? */
  hasFailed(): boolean;
}

const NOTHING = Buffer.alloc(0);

type Controller = Dispatcher.DispatchController;

/**
 * @param headers names and values in turn, as the caller gets them
 * @param requestIsWhole false where the upstream answered before it had the whole request: the connection then ends
 * @param rewriter changes what has to be changed in the body
 */
export function createResponseRelay(
  controller: Controller,
  status: number,
  headers: string[],
  requestIsWhole: () => boolean,
  rewriter?: Rewriter,
): ResponseRelay {
  let response: ServerResponse | undefined;
  /** The head is on its way. */
  let wrote = false;
  /** A short beginning of the body, which may be all of it. */
  let begun: Buffer = NOTHING;
  let failed = false;
  let isHeld = false;

  /** Until the caller has read what there is. */
  function hold(to: ServerResponse): void {
    if (isHeld) return;
    isHeld = true;
    controller.pause();
    to.once('drain', () => {
      isHeld = false;
      controller.resume();
    });
  }

  function write(bytes: Buffer): void {
    // Not by `flushHeaders`, which writes the bytes of a header as UTF-8. Nor with the first bytes: for those, Node puts the head before all
    // that waits for its turn on the connection, and where the caller has sent its next request already, that is a `100 Continue`.
    if (!wrote) response?.write('', 'latin1');
    wrote = true;
    if (bytes.length > 0 && response?.write(bytes) === false) hold(response);
  }

  /** A stream may go on for hours, and what it began with is not kept as long. */
  function writeBegun(): void {
    const bytes = begun;
    begun = NOTHING;
    write(bytes);
  }

  function pass(bytes: Buffer): void {
    if (bytes.length === 0) return;
    if (!wrote && begun.length === 0 && bytes.length <= MAX_TEXT_BYTES) {
      begun = bytes;
      return;
    }
    if (begun.length > 0) writeBegun();
    write(bytes);
  }

  return {
    status,
    header: (name) => headerValues(headers, name)[0],
    start(to) {
      response = to;
      if (!requestIsWhole()) headers.push('connection', 'close');
      to.writeHead(status, headers);
      // A stream may be silent for hours after its head, so the head must not wait for it; a short body is worth one tick.
      process.nextTick(() => {
        if (wrote) return;
        writeBegun();
        // Node would hold it for another tick, before which the upstream's end may break off the answer.
        to.socket?.uncork();
      });
    },
    data: (chunk) => pass(rewriter === undefined ? chunk : rewriter.push(chunk)),
    end() {
      if (rewriter !== undefined) pass(rewriter.rest());
      if (wrote) response?.end();
      else response?.end(begun.toString('latin1'), 'latin1');
      wrote = true;
    },
    // No getter: V8 gives each object with one a class of its own, and that keeps the request alive until a full collection.
    hasFailed: () => failed,
    fail() {
      failed = true;
      if (response === undefined) return;
      const { socket, req } = response;
      // To HTTP/1.0 the end of the connection is the end of the body, so that only a reset says that it was none. A unix
      // socket, which has no address, cannot be reset.
      if (req.httpVersion === '1.0' && socket?.remoteAddress !== undefined) socket.resetAndDestroy();
      else response.destroy();
    },
  };
}
