import { type Dispatcher, errors } from 'undici';
import type { Content } from '../pump.ts';
import { isHeader } from './is-header.ts';

export interface RequestHead {
  /** A character for each byte, up to the content. */
  readonly text: string;
  /** Of content that comes bit by bit, as the head announces it; undefined: it goes in chunks. */
  readonly length: number | undefined;
  /** The connection ends with the answer, and the upstream is told so. */
  readonly isLast: boolean;
}

/** Of a method, or of the name of a header (RFC 9110 section 5.6.2). */
const TOKEN = /^[!#$%&'*+\-.^_`|~\w]+$/;

/** Neither a space, nor what is none to see, is a part of a target. */
const TARGET = /^[\x21-\xff]+$/;

/** In a value it would end a line before its end, or be another character on the way. */
const UNWRITABLE = /[\0\r\n\u0100-\uffff]/;
/** What is another character: in a text that has a byte for each, V8 does not look for it at all. */
const BEYOND_BYTES = /[\u0100-\uffff]/;
/** Beyond, as a token is, one character after the other is found sooner: Node 20 looks for any of some byte by byte. */
const MAX_SHORT = 200;

const LENGTH = /^\d+$/;

/** These bring content, and of these a server expects to be told that there is none. */
const WITH_CONTENT: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'QUERY']);

/**
 * How a request begins. What becomes of the connection, and how much content there is, it says by itself.
 * @param host of the origin, for a request that does not say it
 * @throws {errors.InvalidArgumentError} where something cannot be written
 * @see RFC 9112 sections 3, 5 and 6
 */
export function requestHead(
  { method, path, headers, upgrade, body }: Dispatcher.DispatchOptions,
  host: string,
): RequestHead {
  if (!TOKEN.test(method) || !TARGET.test(path))
    throw new errors.InvalidArgumentError('a request has a method or a target that cannot be written');
  const fields = inTurn(headers);
  let named = false;
  let length: number | undefined;
  let lines = '';
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    if (!TOKEN.test(name) || !isWritable(value)) {
      throw new errors.InvalidArgumentError('a request has a header that cannot be written');
    }
    if (isHeader(name, 'content-length')) {
      length = lengthOf(value, length);
      continue;
    }
    // Beside the framing that is said here it would be a second one, and the request two to whoever goes by that.
    if (isHeader(name, 'transfer-encoding') || isHeader(name, 'connection')) {
      throw new errors.InvalidArgumentError('a request has a header that is not for it to say');
    }
    if (isHeader(name, 'host')) named = true;
    lines += `${name}: ${value}\r\n`;
  }
  if (upgrade && !isWritable(String(upgrade)))
    throw new errors.InvalidArgumentError('a request asks for a protocol that cannot be written');
  const start = `${method} ${path} HTTP/1.1\r\n${named ? '' : `host: ${host}\r\n`}`;
  const framing = framingOf(method, body as Content, length);
  const isLast = upgrade ? true : isUnclear(method, body as Content);
  const kept = isLast ? 'close' : 'keep-alive';
  const connection = upgrade ? `connection: upgrade\r\nupgrade: ${upgrade}\r\n` : `connection: ${kept}\r\n`;
  return { text: `${start}${connection}${lines}${framing}\r\n`, length, isLast };
}

function isWritable(value: string): boolean {
  if (value.length <= MAX_SHORT) return !UNWRITABLE.test(value);
  return !value.includes('\n') && !value.includes('\r') && !value.includes('\0') && !BEYOND_BYTES.test(value);
}

/**
 * Servers differ in where it ends, or its answer: some take no content of a method that has no use for it, and what it is for the next
 * request, or have content in their answer to HEAD. Nothing may follow on the connection.
 */
function isUnclear(method: string, content: Content): boolean {
  if (method === 'HEAD') return true;
  return content !== null && content !== undefined && !WITH_CONTENT.has(method);
}

/** @param before that was announced already */
function lengthOf(value: string, before: number | undefined): number {
  const length = Number(value);
  if (!LENGTH.test(value) || !Number.isSafeInteger(length) || (before !== undefined && before !== length)) {
    throw new errors.InvalidArgumentError('a request announces a length that is none, or two of them');
  }
  return length;
}

/** @param length that was announced; where all of the content is there, its own counts */
function framingOf(method: string, content: Content, length: number | undefined): string {
  if (Buffer.isBuffer(content)) return `content-length: ${content.length}\r\n`;
  if (content === null || content === undefined) return WITH_CONTENT.has(method) ? 'content-length: 0\r\n' : '';
  return length === undefined ? 'transfer-encoding: chunked\r\n' : `content-length: ${length}\r\n`;
}

function inTurn(headers: Dispatcher.DispatchOptions['headers']): readonly string[] {
  return Array.isArray(headers) ? headers : Object.entries((headers ?? {}) as Record<string, string>).flat();
}
