import type { Socket } from 'node:net';
import type { Writable } from 'node:stream';
import { type Dispatcher, errors } from 'undici';
import { type KnownName, rememberNames } from '../known-names.ts';

/** The content of a request: none, buffered, streamed, or a text with a character for each byte. */
export type RequestContent = Buffer | AsyncIterable<Buffer> | string | null;

export interface EncodedRequest {
  /** Request line and headers, with a character for each byte. */
  readonly text: string;
  /** The announced length of streamed content. Undefined: the content is chunked. */
  readonly length: number | undefined;
  /** The connection closes after the response, and the request says so. */
  readonly isLast: boolean;
}

/** A method or the name of a header (RFC 9110 section 5.6.2). */
const TOKEN = /^[!#$%&'*+\-.^_`|~\w]+$/;

/** A request target contains no spaces or control characters. */
const TARGET = /^[\x21-\xff]+$/;

/** These characters end a line, or change when they are written as one byte. */
const INVALID_IN_VALUE = /[\0\r\n\u0100-\uffff]/;
/** Characters beyond one byte. V8 does not search a one-byte string for them at all. */
const BEYOND_ONE_BYTE = /[\u0100-\uffff]/;
/** In longer values, such as tokens, searches for single characters are faster: Node 20 runs a character class byte by byte. */
const MAX_SHORT = 200;

const LENGTH = /^\d+$/;

/** Servers expect these methods to have content, or a Content-Length of 0. */
const WITH_CONTENT: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'QUERY']);

/**
 * Encodes the request line and headers. The framing of the content and the `Connection` header are set here, never by the caller.
 * @param host of the origin, for a request without a `Host` header
 * @throws {errors.InvalidArgumentError} for a part that is invalid
 * @see RFC 9112 sections 3, 5 and 6
 */
export function encodeRequest(
  { method, path, headers, upgrade, body }: Dispatcher.DispatchOptions,
  host: string,
): EncodedRequest {
  if (!TOKEN.test(method) || !TARGET.test(path)) {
    throw new errors.InvalidArgumentError('invalid request method or target');
  }
  const fields = flatHeaders(headers);
  let hasHost = false;
  let length: number | undefined;
  let lines = '';
  for (let i = 0; i < fields.length; i += 2) {
    const { role, start } = nameAt(i, fields[i] as string);
    const value = fields[i + 1] as string;
    if (!isValidValue(value)) throw new errors.InvalidArgumentError('invalid request header');
    if (role === 'content-length') {
      length = lengthOf(value, length);
      continue;
    }
    if (role === 'host') hasHost = true;
    lines += `${start}${value}\r\n`;
  }
  if (upgrade && !isValidValue(String(upgrade))) {
    throw new errors.InvalidArgumentError('invalid protocol to upgrade to');
  }
  const start = `${method} ${path} HTTP/1.1\r\n${hasHost ? '' : `host: ${host}\r\n`}`;
  if (typeof body === 'string' && BEYOND_ONE_BYTE.test(body)) {
    throw new errors.InvalidArgumentError('a text as content must have a character for each byte');
  }
  const framing = framingOf(method, body as RequestContent, length);
  const isLast = upgrade ? true : isAmbiguous(method, body as RequestContent);
  const persistence = isLast ? 'close' : 'keep-alive';
  const connection = upgrade ? `connection: upgrade\r\nupgrade: ${upgrade}\r\n` : `connection: ${persistence}\r\n`;
  return { text: `${start}${connection}${lines}${framing}\r\n`, length, isLast };
}

/** The name of a request header that may be sent. */
interface FieldName extends KnownName {
  readonly role: 'content-length' | 'host' | undefined;
  /** The text before the value. */
  readonly start: string;
}

const nameAt = rememberNames((name): FieldName => {
  if (!TOKEN.test(name)) throw new errors.InvalidArgumentError('invalid request header');
  // A second framing could turn one request into two.
  if (isHeader(name, 'transfer-encoding') || isHeader(name, 'connection')) {
    throw new errors.InvalidArgumentError('a request must not set Transfer-Encoding or Connection');
  }
  const role = isHeader(name, 'content-length') ? 'content-length' : isHeader(name, 'host') ? 'host' : undefined;
  // Joined, because V8 would keep a sum in parts, and put them together again for each request.
  return { name, role, start: [name, ': '].join('') };
});

function isValidValue(value: string): boolean {
  if (value.length <= MAX_SHORT) return !INVALID_IN_VALUE.test(value);
  return !value.includes('\n') && !value.includes('\r') && !value.includes('\0') && !BEYOND_ONE_BYTE.test(value);
}

/**
 * Servers disagree on where such a request or its response ends. Some ignore the content of a method that has no use for it, and
 * read it as the next request. Some send content in response to HEAD. No other request may follow on the connection.
 */
function isAmbiguous(method: string, content: RequestContent): boolean {
  if (method === 'HEAD') return true;
  return content !== null && content !== undefined && !WITH_CONTENT.has(method);
}

/** @param previous length from an earlier `Content-Length` header */
function lengthOf(value: string, previous: number | undefined): number {
  const length = Number(value);
  if (!LENGTH.test(value) || !Number.isSafeInteger(length) || (previous !== undefined && previous !== length)) {
    throw new errors.InvalidArgumentError('invalid or contradictory Content-Length');
  }
  return length;
}

/** @param length as announced. Buffered content has its own */
function framingOf(method: string, content: RequestContent, length: number | undefined): string {
  if (isBuffered(content)) return `content-length: ${content.length}\r\n`;
  if (content === null || content === undefined) return WITH_CONTENT.has(method) ? 'content-length: 0\r\n' : '';
  return length === undefined ? 'transfer-encoding: chunked\r\n' : `content-length: ${length}\r\n`;
}

function flatHeaders(headers: Dispatcher.DispatchOptions['headers']): readonly string[] {
  if (Array.isArray(headers)) return headers;
  const fields: string[] = [];
  for (const [name, value] of Object.entries((headers ?? {}) as Record<string, string>)) fields.push(name, value);
  return fields;
}

/** The content is complete. */
export function isBuffered(content: RequestContent): content is Buffer | string {
  return typeof content === 'string' || Buffer.isBuffer(content);
}

/** Writes a request without content or with buffered content, by one system call. */
export function sendBuffered(socket: Socket, headers: string, content: Buffer | string | null): void {
  if (content === null || content.length <= MAX_TEXT_BYTES) {
    socket.write(content === null ? headers : headers + content.toString('latin1'), 'latin1');
    return;
  }
  socket.cork();
  socket.write(headers, 'latin1');
  socket.write(content, 'latin1');
  socket.uncork();
}

/**
 * Writes a request with streamed content, no faster than the upstream accepts it.
 * @returns settles when the socket has all of it, or is closed
 * @throws {errors.RequestContentLengthMismatchError} the content does not have the announced length
 * @see RFC 9112 section 7.1
 */
export function sendStreamed(
  socket: Socket,
  { text, length }: EncodedRequest,
  content: AsyncIterable<Buffer>,
  backpressure: Backpressure,
): Promise<void> {
  socket.write(text, 'latin1');
  return length === undefined
    ? sendChunks(socket, content, backpressure)
    : sendLength(socket, content, length, backpressure);
}

async function sendLength(
  socket: Socket,
  content: AsyncIterable<Buffer>,
  length: number,
  backpressure: Backpressure,
): Promise<void> {
  let left = length;
  let last: Buffer | undefined;
  const isOpen = await pump(content, socket, backpressure, (chunk) => {
    left -= chunk.length;
    if (left < 0) throw new errors.RequestContentLengthMismatchError();
    if (left > 0) return socket.write(chunk);
    // Written only at the end of the content. If more followed, the request would already look complete.
    last ??= chunk;
    return true;
  });
  if (!isOpen) return;
  if (left > 0) throw new errors.RequestContentLengthMismatchError();
  if (last !== undefined) socket.write(last);
}

async function sendChunks(socket: Socket, content: AsyncIterable<Buffer>, backpressure: Backpressure): Promise<void> {
  const isOpen = await pump(content, socket, backpressure, (chunk) => {
    // An empty chunk would end the content.
    if (chunk.length === 0) return true;
    socket.cork();
    socket.write(`${chunk.length.toString(16)}\r\n`, 'latin1');
    socket.write(chunk);
    const mayWriteMore = socket.write('\r\n', 'latin1');
    socket.uncork();
    return mayWriteMore;
  });
  if (isOpen) socket.write('0\r\n\r\n', 'latin1');
}

/** Compares a header's name with one in lower case. Most names differ in length. */
export function isHeader(name: string, lowerCase: string): boolean {
  return name.length === lowerCase.length && name.toLowerCase() === lowerCase;
}

/**
 * Content up to this size is fastest as a string with a character for each byte, together with the headers before it. Node writes
 * such a string from its stack, up to 16 KiB. Separate pieces take half a microsecond more.
 */
export const MAX_TEXT_BYTES = 8 * 1024;

export interface Backpressure {
  blocked(): void;
  unblocked(): void;
}

/**
 * Writes streamed content no faster than the stream accepts it. Does not end the stream.
 * @param write writes one chunk. @returns whether more may follow at once
 * @returns false where the stream has closed meanwhile
 */
export async function pump(
  content: AsyncIterable<Buffer>,
  stream: Writable,
  { blocked, unblocked }: Backpressure,
  write = (chunk: Buffer): boolean => stream.write(chunk),
): Promise<boolean> {
  for await (const chunk of content) {
    if (isClosed(stream)) return false;
    if (write(chunk)) continue;
    blocked();
    await drained(stream);
    unblocked();
  }
  return !isClosed(stream);
}

function isClosed({ destroyed, closed }: Writable): boolean {
  return destroyed || closed;
}

function drained(stream: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      stream.off('drain', done);
      stream.off('close', done);
      resolve();
    };
    stream.on('drain', done);
    stream.on('close', done);
  });
}
