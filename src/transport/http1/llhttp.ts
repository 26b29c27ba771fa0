import wasm from 'undici/lib/llhttp/llhttp_simd-wasm.js';

/** What llhttp tells as it reads an answer. Where bytes are is said by their place in the chunk. Each says how to go on, by a code. */
export interface Callbacks {
  /** The first byte is there. */
  begin(): number;
  reason(length: number): number;
  /** A name, or more of the last. */
  name(start: number, length: number): number;
  /** A value, or more of the last. */
  value(start: number, length: number): number;
  /** @param major version of HTTP, or of RTSP or ICE, which llhttp reads as well */
  head(status: number, major: number): number;
  body(start: number, length: number): number;
  /** @param keepsAlive may the connection carry another answer, by all that was read of this one? */
  end(keepsAlive: boolean): number;
}

/** A parser of answers. None may be asked anything while a callback runs. */
export interface Llhttp {
  execute(chunk: Buffer): Executed;
  /** Nothing more comes: ends an answer that has no length. */
  finish(): void;
  /** To go on after a callback has said `paused`; else it does nothing. */
  resume(): void;
  /** What was wrong, where `execute` has said neither `ok` nor that it has stopped. */
  fault(code: number): Fault;
  /** Gives its memory back. */
  free(): void;
}

/** In llhttp's own words. */
export interface Fault {
  /** As in `HPE_INVALID_VERSION`. */
  readonly code: string;
  readonly reason: string;
}

export interface Executed {
  /** `ok`, `paused`, `pausedUpgrade`, or another where that is no answer. */
  readonly code: number;
  /** How far it has come. */
  readonly end: number;
}

export const CODES = {
  ok: 0,
  /** Said by a callback: to stop after what it was told of. Then said by `execute`. */
  paused: 21,
  /** Said by `execute` before the first byte of another protocol. */
  pausedUpgrade: 22,
  /** Said by a callback: to give up. */
  refused: -1,
  /** Said by the callback of a head: there is no body, whatever the head says. */
  noBody: 1,
  /** Said by the callback of a head: what follows is another protocol's. */
  otherProtocol: 2,
} as const;

const RESPONSE = 2;

/** Largest part of a chunk that is read at once. */
const INPUT_BYTES = 64 * 1024;

/** What the module exports, as far as it is of use. A parser, as all in its memory, is a number. */
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
  /** @param lenient 1: another answer may follow one that closes the connection */
  llhttp_set_lenient_keep_alive(parser: number, lenient: number): void;
  llhttp_get_error_pos(parser: number): number;
  llhttp_errno_name(code: number): number;
  llhttp_get_error_reason(parser: number): number;
}

let exports: Exports | undefined;
/** Where all parsers read from, one at a time; as an address, and as memory. */
let inputAddress = 0;
let input = new Uint8Array(0);

/** Those of the parser that reads now, and where its input begins in its chunk. */
let current: Callbacks;
let currentStart = 0;

/**
 * Node's own parser of HTTP/1.1, as undici brings it in WebAssembly: it is strict, so that what is one answer to an upstream is not two
 * here. It is no part of what undici promises, so `package.json` names one release.
 */
export function createLlhttp(callbacks: Callbacks): Llhttp {
  exports ??= load();
  const { llhttp_alloc, llhttp_execute, llhttp_finish, llhttp_free, llhttp_resume } = exports;
  const { llhttp_errno_name, llhttp_get_error_pos, llhttp_get_error_reason } = exports;
  const parser = llhttp_alloc(RESPONSE);

  return {
    execute(chunk) {
      current = callbacks;
      let at = 0;
      // Once at least: an answer may be at its end, and have been held back before it said so.
      do {
        currentStart = at;
        const code = llhttp_execute(parser, inputAddress, copyIn(chunk, at));
        if (code !== CODES.ok) return { code, end: at + llhttp_get_error_pos(parser) - inputAddress };
        at += INPUT_BYTES;
      } while (at < chunk.length);
      return { code: CODES.ok, end: chunk.length };
    },
    finish() {
      current = callbacks;
      llhttp_finish(parser);
    },
    resume: () => llhttp_resume(parser),
    fault: (code) => ({ code: textAt(llhttp_errno_name(code)), reason: textAt(llhttp_get_error_reason(parser)) }),
    free: () => llhttp_free(parser),
  };
}

function copyIn(chunk: Buffer, start: number): number {
  // The memory is another where parsers have made it grow.
  if (input.length === 0 && exports !== undefined)
    input = new Uint8Array(exports.memory.buffer, inputAddress, INPUT_BYTES);
  return chunk.copy(input, 0, start);
}

/** A text of llhttp's own. @param address 0 is none */
function textAt(address: number): string {
  if (address === 0 || exports === undefined) return '';
  const memory = Buffer.from(exports.memory.buffer);
  return memory.toString('latin1', address, memory.indexOf(0, address));
}

function load(): Exports {
  const place = (address: number): number => currentStart + address - inputAddress;
  const env = {
    wasm_on_message_begin: () => current.begin(),
    wasm_on_url: () => CODES.ok,
    wasm_on_status: (_: number, __: number, length: number) => current.reason(length),
    wasm_on_header_field: (_: number, address: number, length: number) => current.name(place(address), length),
    wasm_on_header_value: (_: number, address: number, length: number) => current.value(place(address), length),
    wasm_on_headers_complete(parser: number, status: number) {
      // Whether the connection ends is for the final answer to say, and not for one before it (RFC 9112 section 9.6).
      llhttp.llhttp_set_lenient_keep_alive(parser, status < 200 ? 1 : 0);
      return current.head(status, llhttp.llhttp_get_http_major(parser));
    },
    wasm_on_body: (_: number, address: number, length: number) => current.body(place(address), length),
    wasm_on_message_complete: (parser: number) => current.end(llhttp.llhttp_should_keep_alive(parser) === 1),
  };
  const { exports: loaded } = new WebAssembly.Instance(new WebAssembly.Module(wasm), { env });
  const llhttp = loaded as unknown as Exports;
  inputAddress = llhttp.malloc(INPUT_BYTES);
  return llhttp;
}
