import { errors } from 'undici';
import { CODES, createLlhttp, type Executed, type Fault } from './llhttp.ts';

/** What comes after the head of an answer. */
export type Following = 'body' | 'nothing' | 'another protocol';

/** Who is told of an answer as it is read. What it throws ends the reading. */
export interface AnswerReader {
  /** The first byte of an answer is there. @returns is one expected? */
  begins(): boolean;
  /** @param headers names and values in turn, a character for each byte */
  head(status: number, headers: string[]): Following;
  /** @param bytes a part of the chunk that is read */
  body(bytes: Buffer): void;
  /** @param keepsAlive may the connection carry another answer? */
  ends(keepsAlive: boolean): void;
}

/** Reads the answers of one connection, one after the other. None of this may be called while the reader is told something, but `hold`. */
export interface AnswerParser {
  /**
   * Reads what has come, up to where it is held back or another protocol begins.
   * @returns how many bytes it has read
   * @throws {errors.HTTPParserError} where that is no answer, or none is expected
   * @throws {errors.HeadersOverflowError}
   */
  read(chunk: Buffer): number;
  /** Nothing more comes: an answer without a length ends here. */
  finish(): void;
  /** Nothing is read beyond what the reader is told of, until `release`. */
  hold(): void;
  release(): void;
  /** It is of no use from then on. */
  free(): void;
}

/** So much of a head is decoded at once. Pieces of it hold all of it in memory, as long as they are there themselves. */
const TEXT_BYTES = 2048;

const NO_BYTES = Buffer.alloc(0);

/** @param maxHeadBytes most that reason, names and values of a head may be, or those of a trailer section */
export function createAnswerParser(reader: AnswerReader, maxHeadBytes: number): AnswerParser {
  let chunk: Buffer = NO_BYTES;
  let text = '';
  let textStart = 0;
  /** A name more than there are values where a value is still to come. */
  let headers: string[] = [];
  let headBytes = 0;
  let isHeld = false;
  /** The next byte begins a response. */
  let isBetween = true;
  let isInterim = false;
  let failure: unknown;

  function decode(start: number, length: number): string {
    if (start < textStart || start + length > textStart + text.length) {
      textStart = start;
      text = chunk.toString('latin1', start, start + Math.max(length, TEXT_BYTES));
    }
    return text.slice(start - textStart, start - textStart + length);
  }

  function count(length: number): number {
    headBytes += length;
    return headBytes > maxHeadBytes ? refuse(new errors.HeadersOverflowError()) : CODES.ok;
  }

  /** No exception may pass through llhttp. */
  function refuse(error: unknown): number {
    failure = error;
    return CODES.refused;
  }

  const llhttp = createLlhttp({
    begin() {
      isBetween = false;
      return reader.begins() ? CODES.ok : refuse(new errors.HTTPParserError('nobody has asked for it'));
    },
    reason: count,
    name(start, length) {
      const name = decode(start, length);
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
    head(status, major) {
      if (major !== 1) return refuse(malformed('HPE_INVALID_VERSION', 'unexpected HTTP version'));
      isInterim = false;
      const read = headers;
      headers = [];
      headBytes = 0;
      try {
        const following = reader.head(status, read);
        if (following === 'another protocol') return CODES.otherProtocol;
        isInterim = status < 200;
        if (following === 'nothing') return CODES.noBody;
      } catch (error) {
        return refuse(error);
      }
      return isHeld ? CODES.paused : CODES.ok;
    },
    body(start, length) {
      // As it goes on, of a body without a length.
      if (length === 0) return CODES.ok;
      try {
        reader.body(chunk.subarray(start, start + length));
      } catch (error) {
        return refuse(error);
      }
      return isHeld ? CODES.paused : CODES.ok;
    },
    end(keepsAlive) {
      // Those of a trailer section go no further.
      headers = [];
      headBytes = 0;
      try {
        reader.ends(keepsAlive);
      } catch (error) {
        return refuse(error);
      }
      isBetween = true;
      // The next response begins in the same chunk, where only the position of this pause tells.
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
    read(bytes) {
      let { code, end } = execute(bytes);
      // Paused after an interim response.
      while (code === CODES.paused && isBetween) {
        llhttp.resume();
        if (end === bytes.length) return end;
        const next = execute(bytes.subarray(end));
        code = next.code;
        end += next.end;
      }
      if (code === CODES.ok || code === CODES.paused || code === CODES.pausedUpgrade) return end;
      throw failure ?? notHttp(llhttp.fault(code));
    },
    finish: llhttp.finish,
    hold() {
      isHeld = true;
    },
    release() {
      isHeld = false;
      llhttp.resume();
    },
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

function notHttp({ code, reason }: Fault): Error {
  return malformed(code, reason);
}

/** The error contains nothing of the response itself. */
function malformed(code: string, reason: string): Error {
  return Object.assign(new errors.HTTPParserError(`malformed HTTP/1.1 response: ${reason}`), { code });
}
