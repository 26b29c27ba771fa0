import type { IncomingHttpHeaders } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Dispatcher } from 'undici';

/** What carries a request upstream, and its answer back. */
export interface Carrier {
  /** Reads no more of the answer, until `release`. */
  hold(): void;
  release(): void;
  /** Nobody wants the answer any more. */
  breakOff(): void;
}

/** One that reads the `rawHeaders` of its controller. A table of them by name would cost each answer a microsecond, and it is given none. */
export interface RawHandler extends Dispatcher.DispatchHandler {
  readonly readsRawHeaders: true;
}

const NO_TABLE: IncomingHttpHeaders = Object.freeze({});

/** A request for which undici's handler waits, and what the handler controls it by. */
export class UpstreamRequest implements Dispatcher.DispatchController {
  readonly options: Dispatcher.DispatchOptions;
  readonly #handler: Dispatcher.DispatchHandler;
  #carrier: Carrier | undefined;

  aborted = false;
  paused = false;
  reason: Error | null = null;
  /** Of the answer: names and values in turn, a character for each byte. */
  rawHeaders: string[] | null = null;
  /** The handler was told the end. */
  isOver = false;

  constructor(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler) {
    this.options = options;
    this.#handler = handler;
  }

  abort(reason: Error): void {
    if (this.isOver) return;
    this.aborted = true;
    this.reason = reason;
    this.#carrier?.breakOff();
    this.fail(reason);
  }

  pause(): void {
    if (this.isOver) return;
    this.paused = true;
    this.#carrier?.hold();
  }

  resume(): void {
    if (this.isOver || !this.paused) return;
    this.paused = false;
    this.#carrier?.release();
  }

  /** Called right before the first byte goes out. @returns false where the handler does not want it to */
  start(carrier: Carrier): boolean {
    this.#handler.onRequestStart?.(this, {});
    if (this.isOver) return false;
    this.#carrier = carrier;
    if (this.paused) carrier.hold();
    return true;
  }

  answer(status: number, headers: string[]): void {
    this.rawHeaders = headers;
    const table = 'readsRawHeaders' in this.#handler ? NO_TABLE : byName(headers);
    this.#handler.onResponseStart?.(this, status, table);
  }

  data(chunk: Buffer): void {
    this.#handler.onResponseData?.(this, chunk);
  }

  end(): void {
    this.isOver = true;
    this.#handler.onResponseEnd?.(this, {});
  }

  /** @param socket is the handler's from here on */
  switchProtocol(headers: string[], socket: Duplex): void {
    this.isOver = true;
    this.rawHeaders = headers;
    this.#handler.onRequestUpgrade?.(this, 101, byName(headers), socket);
  }

  /** May be called at any time; what comes after the end changes nothing. */
  fail(error: Error): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#handler.onResponseError?.(this, error);
  }
}

/** By lower-case name; all values of one that is there more than once. */
function byName(headers: readonly string[]): IncomingHttpHeaders {
  const named: IncomingHttpHeaders = Object.create(null);
  for (let i = 0; i < headers.length; i += 2) {
    const name = (headers[i] as string).toLowerCase();
    const value = headers[i + 1] as string;
    const before = named[name];
    if (before === undefined) named[name] = value;
    else if (Array.isArray(before)) before.push(value);
    else named[name] = [before, value];
  }
  return named;
}
