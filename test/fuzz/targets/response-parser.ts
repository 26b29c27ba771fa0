import assert from 'node:assert/strict';
import { errors } from 'undici';
import { createResponseParser, type ResponseEvents } from '../../../src/transport/http1/response-parser.ts';

const MAX_HEADER_BYTES = 1024;
const SECRET = 's3cret-value-of-a-header';

interface Reading {
  readonly events: unknown[];
  readonly error: unknown;
}

/**
 * Pieces give the same responses as one chunk, headers stay within their limit, and errors contain nothing of the response.
 * The first byte of an input says where the second piece starts.
 */
export function fuzz(data: Buffer): void {
  const bytes = data.subarray(1);
  const whole = read([bytes]);
  const at = (data[0] ?? 0) % (bytes.length + 1);
  const parts = read([bytes.subarray(0, at), bytes.subarray(at)]);
  assert.deepEqual(parts.events, whole.events);
  assert.equal(codeOf(parts.error), codeOf(whole.error));
  const { error } = read([Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nX-Secret: ${SECRET}\r\n`), bytes])]);
  if (error !== undefined) assert.ok(!String(error).includes(SECRET), 'an error repeats a header');
}

function read(chunks: readonly Buffer[]): Reading {
  const events: unknown[] = [];
  let body = '';
  let isSwitched = false;
  const endBody = (): void => {
    if (body !== '') events.push(body);
    body = '';
  };
  const reader: ResponseEvents = {
    isExpected: () => true,
    headers(status, headers) {
      assert.ok(headers.join('').length <= MAX_HEADER_BYTES);
      assert.equal(headers.length % 2, 0);
      assert.ok(
        headers.every((text) => !/[\r\n\0]/.test(text)),
        'a header contains a line break',
      );
      events.push([status, ...headers]);
      isSwitched = status === 101;
      if (isSwitched) return 'another protocol';
      return status === 204 || status === 304 ? 'no body' : 'body';
    },
    body(part) {
      body += part.toString('latin1');
    },
    end(keepsAlive) {
      endBody();
      events.push(keepsAlive);
    },
  };
  const parser = createResponseParser(reader, MAX_HEADER_BYTES);
  try {
    for (const chunk of chunks) {
      const length = parser.read(chunk);
      assert.ok(length >= 0 && length <= chunk.length);
      // The rest belongs to another protocol. The connection hands over its socket and reads no more responses.
      if (isSwitched) break;
    }
    endBody();
    return { events, error: undefined };
  } catch (error) {
    if (error instanceof assert.AssertionError) throw error;
    assert.ok(error instanceof errors.HTTPParserError || error instanceof errors.HeadersOverflowError, String(error));
    endBody();
    return { events, error };
  } finally {
    parser.free();
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : error;
}
