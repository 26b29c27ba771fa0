import { errors } from 'undici';
import { CODES, createLlhttp, type Executed } from './llhttp.ts';

/** The part that follows the headers of a response. */
type Following = 'body' | 'no body' | 'another protocol';

/** Receives the parts of a response. An error that it throws stops the parser, which throws the same error. */
export interface ResponseEvents {
  /** Called at the first byte of a response. @returns whether a request waits for one */
  isExpected(): boolean;
  /**
   * @param headers names and values in turn, with a character for each byte
   * @param minorVersion 0 for HTTP/1.0
   */
  headers(status: number, headers: string[], minorVersion: number): Following;
  /** @param bytes part of the chunk that is parsed */
  body(bytes: Buffer): void;
  /** @param keepsAlive whether the connection can carry another response */
  end(keepsAlive: boolean): void;
}

/** Size of the pieces in which headers are decoded. Substrings keep the whole piece in memory. */
const TEXT_BYTES = 2048;

const NO_BYTES = Buffer.alloc(0);

/** Each header costs time, even if it is empty. */
const MAX_HEADERS = 1000;

/** Interim responses before one response. Each copies the rest of the chunk. */
const MAX_INTERIM = 32;

/** Parses the responses of one connection. Of its methods, only `pause` may be called from an event. */
export type ResponseParser = ReturnType<typeof createResponseParser>;

/**
 * @param maxHeaderBytes limit for reason phrase, names and values of a response and its interim responses together, and again for
 *   the trailers
 */
export function createResponseParser(events: ResponseEvents, maxHeaderBytes: number) {
  let chunk: Buffer = NO_BYTES;
  let text = '';
  let textStart = 0;
  /** Ends with a name whose value is not read yet, if its length is odd. */
  let headers: string[] = [];
  let headerBytes = 0;
  let isPaused = false;
  /** The next byte begins a response. */
  let isBetween = true;
  let isInterim = false;
  let interims = 0;
  let failure: unknown;

  function decode(start: number, length: number): string {
    if (start < textStart || start + length > textStart + text.length) {
      textStart = start;
      text = chunk.toString('latin1', start, start + Math.max(length, TEXT_BYTES));
    }
    return text.slice(start - textStart, start - textStart + length);
  }

  function count(length: number): number {
    headerBytes += length;
    return headerBytes > maxHeaderBytes ? refuse(new errors.HeadersOverflowError()) : CODES.ok;
  }

  /** Keeps an error, because exceptions must not pass through llhttp. */
  function refuse(error: unknown): number {
    failure = error;
    return CODES.refused;
  }

  const llhttp = createLlhttp({
    begin() {
      isBetween = false;
      return events.isExpected() ? CODES.ok : refuse(new errors.HTTPParserError('unexpected response'));
    },
    reason: count,
    name(start, length) {
      const name = decode(start, length);
      if (headers.length >= 2 * MAX_HEADERS) return refuse(new errors.HeadersOverflowError());
      if (headers.length % 2 === 0) headers.push(name);
      else headers[headers.length - 1] += name;
      return count(length);
    },
    value(start, length) {
      const value = decode(start, length);
      if (headers.length % 2 === 1) headers.push(value);
      else headers[headers.length - 1] += value;
      return count(length);
    },
    headers(status, majorVersion, minorVersion) {
      if (majorVersion !== 1) return refuse(malformed('HPE_INVALID_VERSION', 'unexpected HTTP version'));
      isInterim = false;
      const complete = headers;
      headers = [];
      interims = status < 200 ? interims + 1 : 0;
      if (interims > MAX_INTERIM) return refuse(malformed('HPE_INTERIM', 'too many interim responses'));
      if (interims === 0) headerBytes = 0;
      try {
        const following = events.headers(status, complete, minorVersion);
        if (following === 'another protocol') return CODES.otherProtocol;
        isInterim = status < 200;
        if (following === 'no body') return CODES.noBody;
      } catch (error) {
        return refuse(error);
      }
      return isPaused ? CODES.paused : CODES.ok;
    },
    body(start, length) {
      // llhttp reports an empty piece when it continues a body without a length.
      if (length === 0) return CODES.ok;
      try {
        events.body(chunk.subarray(start, start + length));
      } catch (error) {
        return refuse(error);
      }
      return isPaused ? CODES.paused : CODES.ok;
    },
    end(keepsAlive) {
      // Trailers are dropped.
      headers = [];
      if (interims === 0) headerBytes = 0;
      try {
        events.end(keepsAlive);
      } catch (error) {
        return refuse(error);
      }
      isBetween = true;
      // Another response may begin in the same chunk. Only this pause tells where.
      return isInterim ? CODES.paused : CODES.ok;
    },
  });

  function execute(bytes: Buffer): Executed {
    chunk = bytes;
    text = '';
    if (isBetween) assertHttp(chunk);
    const executed = llhttp.execute(chunk);
    chunk = NO_BYTES;
    text = '';
    return executed;
  }

  return {
    /**
     * Parses a chunk, up to a pause or to the start of another protocol.
     * @returns how many bytes were parsed
     * @throws {errors.HTTPParserError} for a malformed or unexpected response
     * @throws {errors.HeadersOverflowError}
     */
    read(bytes: Buffer): number {
      let { code, end } = execute(bytes);
      while (code === CODES.paused && isBetween) {
        llhttp.resume();
        if (end === bytes.length) return end;
        const next = execute(bytes.subarray(end));
        code = next.code;
        end += next.end;
      }
      if (code === CODES.ok || code === CODES.paused || code === CODES.pausedUpgrade) return end;
      if (failure !== undefined) throw failure;
      const fault = llhttp.fault(code);
      throw malformed(fault.code, fault.reason);
    },
    /** The connection was closed. Completes a response without a length. */
    finish: llhttp.finish,
    /** No event follows the current one until `resume`. */
    pause(): void {
      isPaused = true;
    },
    resume(): void {
      isPaused = false;
      llhttp.resume();
    },
    /** Frees the parser, which must not be used afterwards. */
    free: llhttp.free,
  };
}

const CR = 0x0d;
const LF = 0x0a;
const H = 0x48;

/**
 * llhttp also reads responses of RTSP and ICE, which begin with other letters. It ignores empty lines before a response.
 * @throws {errors.HTTPParserError}
 */
function assertHttp(bytes: Buffer): void {
  let at = 0;
  while (bytes[at] === CR || bytes[at] === LF) at += 1;
  if (at < bytes.length && bytes[at] !== H) throw malformed('HPE_INVALID_CONSTANT', 'expected HTTP/');
}

/** The error contains nothing of the response itself. */
function malformed(code: string, reason: string): Error {
  return Object.assign(new errors.HTTPParserError(`malformed HTTP/1.1 response: ${reason}`), { code });
}
