import wasm from 'undici/lib/llhttp/llhttp_simd-wasm.js';

/**
 * Called by llhttp while it parses a response. Positions are relative to the chunk. Each callback returns a code that says how to
 * continue.
 */
interface Callbacks {
  /** The first byte of a response. */
  begin(): number;
  reason(length: number): number;
  /** A header name, or the continuation of one. */
  name(start: number, length: number): number;
  /** A header value, or the continuation of one. */
  value(start: number, length: number): number;
  /** @param majorVersion of HTTP, RTSP or ICE: llhttp reads all three */
  headers(status: number, majorVersion: number, minorVersion: number): number;
  body(start: number, length: number): number;
  /** @param keepsAlive whether the connection can carry another response, as far as this one says */
  end(keepsAlive: boolean): number;
}

export interface Fault {
  /** An example is `HPE_INVALID_VERSION`. */
  readonly code: string;
  readonly reason: string;
}

export interface Executed {
  /** `ok`, `paused`, `pausedUpgrade`, or the code of an error. */
  readonly code: number;
  /** Position after the last byte that was parsed. */
  readonly end: number;
}

export const CODES = {
  ok: 0,
  /** Returned by a callback to pause after it, and then by `execute`. */
  paused: 21,
  /** Returned by `execute` before the first byte of another protocol. */
  pausedUpgrade: 22,
  /** Returned by a callback to stop with an error. */
  refused: -1,
  /** Returned by `headers`: there is no body, whatever the headers say. */
  noBody: 1,
  /** Returned by `headers`: another protocol follows. */
  otherProtocol: 2,
} as const;

const RESPONSE = 2;

/** A longer chunk is parsed in pieces of this size. */
const INPUT_BYTES = 64 * 1024;

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer };
  malloc(bytes: number): number;
  llhttp_alloc(type: number): number;
  llhttp_free(parser: number): void;
  llhttp_execute(parser: number, input: number, length: number): number;
  llhttp_finish(parser: number): number;
  llhttp_resume(parser: number): void;
  llhttp_should_keep_alive(parser: number): number;
  llhttp_get_http_major(parser: number): number;
  llhttp_get_http_minor(parser: number): number;
  /** @param lenient 1: another response may follow one that closes the connection */
  llhttp_set_lenient_keep_alive(parser: number, lenient: number): void;
  llhttp_get_error_pos(parser: number): number;
  llhttp_errno_name(code: number): number;
  llhttp_get_error_reason(parser: number): number;
}

let exports: Exports | undefined;
/** All parsers read from this memory, one at a time. */
let inputAddress = 0;
let input = new Uint8Array(0);

/** The callbacks of the parser that is running, and where its input begins in the chunk. */
let current: Callbacks;
let currentStart = 0;

/**
 * Creates a parser: Node's own HTTP/1.1 parser in the WebAssembly build of undici. It is strict, so a single response of the
 * upstream cannot be read as two here. The build is not part of undici's public API, so `package.json` pins one release, and
 * `undici-internals.test.ts` checks the build.
 */
export function createLlhttp(callbacks: Callbacks) {
  exports ??= load();
  const { llhttp_alloc, llhttp_execute, llhttp_finish, llhttp_free, llhttp_resume } = exports;
  const { llhttp_errno_name, llhttp_get_error_pos, llhttp_get_error_reason } = exports;
  const parser = llhttp_alloc(RESPONSE);

  return {
    execute(chunk: Buffer): Executed {
      current = callbacks;
      let at = 0;
      // Runs at least once: a parser that was paused at the end of a response has yet to report that end.
      do {
        currentStart = at;
        const code = llhttp_execute(parser, inputAddress, copyIn(chunk, at));
        if (code !== CODES.ok) return { code, end: at + llhttp_get_error_pos(parser) - inputAddress };
        at += INPUT_BYTES;
      } while (at < chunk.length);
      return { code: CODES.ok, end: chunk.length };
    },
    /** The connection was closed. Completes a response without a length. */
    finish(): void {
      current = callbacks;
      llhttp_finish(parser);
    },
    /** Continues after a callback returned `paused`. Otherwise does nothing. */
    resume: (): void => llhttp_resume(parser),
    /** Describes the error after any other code than `ok`, `paused` and `pausedUpgrade`. */
    fault: (code: number): Fault => ({
      code: textAt(llhttp_errno_name(code)),
      reason: textAt(llhttp_get_error_reason(parser)),
    }),
    free: (): void => llhttp_free(parser),
  };
}

function copyIn(chunk: Buffer, start: number): number {
  // The memory is replaced when it grows.
  if (input.length === 0 && exports !== undefined)
    input = new Uint8Array(exports.memory.buffer, inputAddress, INPUT_BYTES);
  return chunk.copy(input, 0, start);
}

/** Reads a text of llhttp. @param address 0: no text */
function textAt(address: number): string {
  if (address === 0 || exports === undefined) return '';
  const memory = Buffer.from(exports.memory.buffer);
  return memory.toString('latin1', address, memory.indexOf(0, address));
}

function load(): Exports {
  const position = (address: number): number => currentStart + address - inputAddress;
  const env = {
    wasm_on_message_begin: () => current.begin(),
    wasm_on_url: () => CODES.ok,
    wasm_on_status: (_: number, __: number, length: number) => current.reason(length),
    wasm_on_header_field: (_: number, address: number, length: number) => current.name(position(address), length),
    wasm_on_header_value: (_: number, address: number, length: number) => current.value(position(address), length),
    wasm_on_headers_complete(parser: number, status: number) {
      // Only the final response decides whether the connection closes, not an interim one (RFC 9112 section 9.6).
      llhttp.llhttp_set_lenient_keep_alive(parser, status < 200 ? 1 : 0);
      return current.headers(status, llhttp.llhttp_get_http_major(parser), llhttp.llhttp_get_http_minor(parser));
    },
    wasm_on_body: (_: number, address: number, length: number) => current.body(position(address), length),
    wasm_on_message_complete: (parser: number) => current.end(llhttp.llhttp_should_keep_alive(parser) === 1),
  };
  const { exports: loaded } = new WebAssembly.Instance(new WebAssembly.Module(wasm), { env });
  const llhttp = loaded as unknown as Exports;
  inputAddress = llhttp.malloc(INPUT_BYTES);
  return llhttp;
}
