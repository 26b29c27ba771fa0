import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createMessageReader } from './programs/message-reader.ts';

const MESSAGES = Buffer.from(
  [
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    'HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n10\r\n0123456789abcde0\r\n0\r\n\r\n',
    'HTTP/1.1 202 Accepted\r\n\r\n',
  ].join(''),
);

/** The chunks of a socket, if each message is requested after the previous one. */
function pieces(cuts: readonly number[]): Buffer[] {
  const starts = ['HTTP/1.1 201', 'HTTP/1.1 202'].map((text) => MESSAGES.indexOf(text));
  const bounds = [...new Set([0, ...starts, ...cuts, MESSAGES.length])].sort((a, b) => a - b);
  return bounds.slice(1).map((end, i) => MESSAGES.subarray(bounds[i], end));
}

test('separates messages for any division into chunks', () => {
  const cuts = fc.array(fc.integer({ min: 1, max: MESSAGES.length - 1 }), { maxLength: 12 });
  fc.assert(
    fc.property(cuts, (positions) => {
      const started: string[] = [];
      const finished: string[] = [];
      const read = createMessageReader(
        (headers) => started.push(headers.slice(9, 12)),
        (headers) => finished.push(headers.slice(9, 12)),
      );
      for (const piece of pieces(positions)) read(piece);
      assert.deepEqual(started, ['200', '201', '202']);
      assert.deepEqual(finished, ['200', '201', '202']);
    }),
  );
});
