import type { ServerResponse } from 'node:http';
import type { Dispatcher } from 'undici';
import { MAX_TEXT_BYTES } from '../transport/http1/write-request.ts';
import { announceClose } from './closing.ts';
import type { Rewriter } from './endpoint-event.ts';
import { headerValues } from './headers.ts';

/** Relays a response to the caller as it arrives: bytes unchanged, and no faster than the caller reads. */
export type ResponseRelay = ReturnType<typeof createResponseRelay>;

const NOTHING = Buffer.alloc(0);

type Controller = Dispatcher.DispatchController;

/**
 * @param headers alternating names and values, as the caller gets them
 * @param keepsConnection false where the upstream responded before it had the whole request, and during a shutdown
 * @param rewriter changes the body
 */
export function createResponseRelay(
  controller: Controller,
  status: number,
  headers: string[],
  keepsConnection: () => boolean,
  rewriter?: Rewriter,
) {
  let response: ServerResponse | undefined;
  /** The response headers are written. */
  let wrote = false;
  /** The first bytes of a body, which may be all of it. */
  let begun: Buffer = NOTHING;
  let failed = false;
  let isPaused = false;

  /** Pauses the upstream until the caller has read the buffered bytes. */
  function pause(to: ServerResponse): void {
    if (isPaused) return;
    isPaused = true;
    controller.pause();
    // On a connection that the HTTP server has released, only the socket reports `drain`.
    (to.socket ?? to).once('drain', () => {
      isPaused = false;
      controller.resume();
    });
  }

  function write(bytes: Buffer): void {
    // Not by `flushHeaders`, which writes header bytes as UTF-8. Not together with the first bytes either: Node would then put the
    // headers before everything queued on the connection, such as the `100 Continue` for a pipelined request.
    if (!wrote) response?.write('', 'latin1');
    wrote = true;
    if (bytes.length > 0 && response?.write(bytes) === false) pause(response);
  }

  /** Releases the first bytes: a stream may last for hours. */
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
    header: (name: string): string | undefined => headerValues(headers, name)[0],
    /** Writes the response headers and lets the body pass. */
    start(to: ServerResponse): void {
      response = to;
      if (!keepsConnection()) {
        announceClose(to.req);
        headers.push('connection', 'close');
      }
      to.writeHead(status, headers);
      // The headers of a stream must not wait for its first event. A short body is worth waiting one tick for.
      process.nextTick(() => {
        if (wrote) return;
        writeBegun();
        // Otherwise Node buffers the bytes for another tick, and an upstream that fails meanwhile would discard them.
        to.socket?.uncork();
      });
    },
    data: (chunk: Buffer): void => pass(rewriter === undefined ? chunk : rewriter.push(chunk)),
    end(): void {
      if (rewriter !== undefined) pass(rewriter.rest());
      if (wrote) response?.end();
      else response?.end(begun.toString('latin1'), 'latin1');
      wrote = true;
    },
    // Not a getter: V8 gives each object with a getter its own hidden class, which keeps the request in memory until a full collection.
    hasFailed: () => failed,
    /** The upstream connection failed: the caller sees a reset, never a clean end. */
    fail(): void {
      failed = true;
      if (response === undefined) return;
      const { socket, req } = response;
      // In HTTP/1.0 the end of the connection ends the body, so only a reset tells the caller of a failure. A Unix socket has no
      // address and cannot be reset.
      if (req.httpVersion === '1.0' && socket?.remoteAddress !== undefined) socket.resetAndDestroy();
      else response.destroy();
    },
  };
}

export function isEventStream(relay: Pick<ResponseRelay, 'header'>): boolean {
  return relay.header('content-type')?.toLowerCase().startsWith('text/event-stream') === true;
}
