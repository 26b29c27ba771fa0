import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually } from '../../harness/eventually.ts';
import { collectGarbage } from '../../harness/heap.ts';
import { bytes, complete, ok, startHostileHttp2, uint32 } from '../../harness/hostile-http2.ts';
import { FLAG, FRAME, frame, literal, type RawStream } from '../../harness/raw-http2.ts';

interface Flood {
  /** Sent once. */
  readonly first?: (stream: RawStream) => void;
  /** Sent without end. */
  readonly next: (stream: RawStream, index: number) => Buffer;
}

/** No flood gets as far. */
const FLOOD_BYTES = 64 * 1024 * 1024;
const WRITE_BYTES = 64 * 1024;
/** Much less than half of a flood. */
const MAX_GROWTH_BYTES = 16 * 1024 * 1024;
const CHECK_MS = 200;

const EMPTY = Buffer.alloc(0);
const head = (stream: RawStream): void => stream.head();
/** `:status: 200`, a header of 4,000 bytes that enters the table, and its index many times (RFC 7541 section 6). */
const BOMB = ok(
  bytes(0x40, 1),
  Buffer.from('x'),
  bytes(0x7f, 0xa1, 0x1e),
  Buffer.alloc(4000, 'a'),
  Buffer.alloc(10_000, 0xbe),
);

/** Origins with a length before each (RFC 8336 section 2). */
function origins(index: number): Buffer {
  return Buffer.concat(
    Array.from({ length: 300 }, (_, i) => {
      const origin = Buffer.from(`https://o${index * 300 + i}.example.com`);
      return Buffer.concat([bytes(0, origin.length), origin]);
    }),
  );
}

const FLOODS: Record<string, Flood> = {
  SETTINGS: { next: () => frame(FRAME.SETTINGS, FLAG.NONE, 0, Buffer.concat([bytes(0, 3), uint32(100)])) },
  PING: { next: () => frame(FRAME.PING, FLAG.NONE, 0, Buffer.alloc(8)) },
  RST_STREAM: {
    first: (stream) => stream.reset(8),
    next: ({ id }) => frame(FRAME.RST_STREAM, FLAG.NONE, id, uint32(8)),
  },
  'empty DATA': { first: head, next: ({ id }) => frame(FRAME.DATA, FLAG.NONE, id, EMPTY) },
  'DATA of padding': {
    first: head,
    next: ({ id }) => frame(FRAME.DATA, FLAG.PADDED, id, Buffer.concat([bytes(99), Buffer.alloc(99)])),
  },
  WINDOW_UPDATE: { next: () => frame(FRAME.WINDOW_UPDATE, FLAG.NONE, 0, uint32(1)) },
  PRIORITY: {
    next: (_stream, index) => frame(FRAME.PRIORITY, FLAG.NONE, 1001 + 2 * index, Buffer.concat([uint32(0), bytes(1)])),
  },
  'unknown frames': { next: ({ id }) => frame(0xfa, FLAG.NONE, id, Buffer.alloc(1000)) },
  ORIGIN: { next: (_stream, index) => frame(FRAME.ORIGIN, FLAG.NONE, 0, origins(index)) },
  ALTSVC: {
    next: ({ id }, index) =>
      frame(FRAME.ALTSVC, FLAG.NONE, id, Buffer.concat([bytes(0, 0), Buffer.from(`h2="a${index}:1"`.padEnd(1000))])),
  },
  GOAWAY: {
    next: () => frame(FRAME.GOAWAY, FLAG.NONE, 0, Buffer.concat([uint32(0x7fffffff), uint32(0), Buffer.alloc(1000)])),
  },
  'empty CONTINUATION': {
    first: (stream) => stream.frame(FRAME.HEADERS, FLAG.NONE, ok()),
    next: ({ id }) => frame(FRAME.CONTINUATION, FLAG.NONE, id, EMPTY),
  },
  'CONTINUATION with headers': {
    first: (stream) => stream.frame(FRAME.HEADERS, FLAG.NONE, ok()),
    next: ({ id }, index) => frame(FRAME.CONTINUATION, FLAG.NONE, id, literal(`x-${index}`, 'y'.repeat(100))),
  },
  'an HPACK bomb': {
    first: (stream) => stream.frame(FRAME.HEADERS, FLAG.NONE, BOMB),
    next: ({ id }) => frame(FRAME.CONTINUATION, FLAG.NONE, id, Buffer.alloc(16_000, 0xbe)),
  },
  'interim responses': {
    next: ({ id }) =>
      frame(
        FRAME.HEADERS,
        FLAG.END_HEADERS,
        id,
        Buffer.concat([literal(':status', '103'), literal('x', 'y'.repeat(100))]),
      ),
  },
  // Long ones, because the limit is for bytes in an interval, which a busy machine does not fill with short frames.
  trailers: {
    first: head,
    next: ({ id }) => frame(FRAME.HEADERS, FLAG.END_HEADERS, id, literal('x', 'y'.repeat(100))),
  },
};

function usedBytes(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Sends as fast as the peer reads. */
function pour({ next }: Flood, stream: RawStream): void {
  const { socket } = stream;
  let [sent, index] = [0, 0];
  const write = (): void => {
    while (!socket.destroyed && sent < FLOOD_BYTES) {
      const frames: Buffer[] = [];
      for (let size = 0; size < WRITE_BYTES; index += 1) {
        const one = next(stream, index);
        size += one.length;
        frames.push(one);
      }
      const batch = Buffer.concat(frames);
      sent += batch.length;
      if (!socket.write(batch)) return void socket.once('drain', write);
    }
  };
  write();
}

for (const [what, flood] of Object.entries(FLOODS)) {
  test(`closes the connection of an upstream that floods it: ${what}`, async (t) => {
    const { send } = await startHostileHttp2(t, CHECK_MS);
    const before = usedBytes();
    let flooded: RawStream | undefined;
    const { last } = await send((stream) => {
      flooded = stream;
      flood.first?.(stream);
      pour(flood, stream);
    });
    assert.equal(last, 'error');
    await eventually('the connection is closed', () => flooded?.socket.destroyed === true);
    // The server's own buffers are freed a little later.
    await eventually('the memory is free again', () => usedBytes() - before < MAX_GROWTH_BYTES);
    const next = await send(complete);
    assert.deepEqual([next.status, next.body, next.last], [200, 'ok', 'end']);
  });
}
