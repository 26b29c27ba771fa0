import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';

interface Carrier {
  pause(): void;
  resume(): void;
  abort(): void;
}

/**
 * A handler that reads the `rawHeaders` of its controller. It gets an empty table of headers by name, because building one would
 * cost each response a microsecond.
 */
export interface RawHandler extends Dispatcher.DispatchHandler {
  readonly readsRawHeaders: true;
}

const NO_TABLE: IncomingHttpHeaders = Object.freeze({});

/** A request on its way. It reports to undici's handler, and is the controller that the handler gets. */
export class UpstreamRequest implements Dispatcher.DispatchController {
  readonly options: Dispatcher.DispatchOptions;
  readonly #handler: Dispatcher.DispatchHandler;
  #carrier: Carrier | undefined;

  aborted = false;
  paused = false;
  reason: Error | null = null;
  /** The response's names and values in turn, with a character for each byte. */
  rawHeaders: string[] | null = null;
  /** The handler was told the end. */
  hasEnded = false;

  constructor(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) {
    this.options = options;
    this.#handler = handler;
  }

  abort(reason: Error): void {
    if (this.hasEnded) return;
    this.aborted = true;
    this.reason = reason;
    this.#carrier?.abort();
    this.fail(reason);
  }

  pause(): void {
    if (this.hasEnded) return;
    this.paused = true;
    this.#carrier?.pause();
  }

  resume(): void {
    if (this.hasEnded || !this.paused) return;
    this.paused = false;
    this.#carrier?.resume();
  }

  /** Called right before the first byte is sent. @returns false where the handler aborted the request */
  start(carrier: Carrier): boolean {
    this.#handler.onRequestStart?.(this, {});
    if (this.hasEnded) return false;
    this.#carrier = carrier;
    if (this.paused) carrier.pause();
    return true;
  }

  startResponse(status: number, headers: string[]): void {
    this.rawHeaders = headers;
    const table = 'readsRawHeaders' in this.#handler ? NO_TABLE : byName(headers);
    this.#handler.onResponseStart?.(this, status, table);
  }

  data(chunk: Buffer): void {
    this.#handler.onResponseData?.(this, chunk);
  }

  end(): void {
    this.hasEnded = true;
    this.#handler.onResponseEnd?.(this, {});
  }

  /** @param socket belongs to the handler from here on */
  upgrade(headers: string[], socket: Duplex): void {
    this.hasEnded = true;
    this.rawHeaders = headers;
    this.#handler.onRequestUpgrade?.(this, 101, byName(headers), socket);
  }

  /** May be called at any time. Does nothing after the end. */
  fail(error: Error): void {
    if (this.hasEnded) return;
    this.hasEnded = true;
    this.#handler.onResponseError?.(this, error);
  }
}

/** Headers by lower-case name, with all values of a name that is repeated. */
function byName(headers: readonly string[]): IncomingHttpHeaders {
  const table: IncomingHttpHeaders = Object.create(null);
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const value = headers[i + 1] as string;
    const previous = table[name];
    if (previous === undefined) table[name] = value;
    else if (Array.isArray(previous)) previous.push(value);
    else table[name] = [previous, value];
  }
  return table;
}
