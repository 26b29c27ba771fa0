import { type Dispatcher, errors } from 'undici';

/** What a request carries: nothing, all of it, or what comes bit by bit. */
export type Content = Buffer | AsyncIterable<Buffer> | null;

export interface RequestHead {
  /** A character for each byte, up to the content. */
  readonly text: string;
  /** Of content that comes bit by bit, as the head announces it; undefined: it goes in chunks. */
  readonly length: number | undefined;
}

/** Would end a line before its end, or be another character on the way. */
const UNWRITABLE = /[\0\r\n\u0100-\uffff]/;

/** Nor is a space, or what is none to see, a part of a target. */
const UNWRITABLE_IN_TARGET = /[^\x21-\xff]/;

/** Of these a server expects to be told that there is none. */
const EXPECTED_CONTENT: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH', 'QUERY']);

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
  if (UNWRITABLE_IN_TARGET.test(path))
    throw new errors.InvalidArgumentError('a request has a target that cannot be written');
  const fields = inTurn(headers);
  let named = false;
  let length: number | undefined;
  let lines = '';
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i] as string;
    const value = fields[i + 1] as string;
    if (UNWRITABLE.test(name) || UNWRITABLE.test(value)) {
      throw new errors.InvalidArgumentError('a request has a header that cannot be written');
    }
    if (name.length === 14 && name.toLowerCase() === 'content-length') {
      length = Number(value);
    } else {
      if (name.length === 4 && name.toLowerCase() === 'host') named = true;
      lines += `${name}: ${value}\r\n`;
    }
  }
  const start = `${method} ${path} HTTP/1.1\r\n${named ? '' : `host: ${host}\r\n`}`;
  const connection = upgrade ? `connection: upgrade\r\nupgrade: ${upgrade}\r\n` : 'connection: keep-alive\r\n';
  const framing = framingOf(method, body as Content, length);
  return { text: `${start}${connection}${lines}${framing}\r\n`, length };
}

/** @param length that was announced; where all of the content is there, its own counts */
function framingOf(method: string, content: Content, length: number | undefined): string {
  if (Buffer.isBuffer(content)) return `content-length: ${content.length}\r\n`;
  if (content === null || content === undefined) return EXPECTED_CONTENT.has(method) ? 'content-length: 0\r\n' : '';
  return length === undefined ? 'transfer-encoding: chunked\r\n' : `content-length: ${length}\r\n`;
}

function inTurn(headers: Dispatcher.DispatchOptions['headers']): readonly string[] {
  return Array.isArray(headers) ? headers : Object.entries((headers ?? {}) as Record<string, string>).flat();
}
