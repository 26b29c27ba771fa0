import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bytes, complete, ok, type Respond, startHostileHttp2, uint32 } from '../../harness/hostile-http2.ts';
import { FLAG, FRAME, literal, STATUS_200 } from '../../harness/raw-http2.ts';

const END = FLAG.END_STREAM;
const END_BOTH = FLAG.END_STREAM | FLAG.END_HEADERS;
const setting = (id: number, value: number): Buffer => Buffer.concat([bytes(0, id), uint32(value)]);
const goaway = (lastStream: number): Buffer => Buffer.concat([uint32(lastStream), uint32(0)]);

const one =
  (type: number, flags: number, payload: Buffer, on?: number): Respond =>
  (stream) =>
    stream.frame(type, flags, payload, on);

const FATAL: Record<string, Respond> = {
  'padding longer than HEADERS': one(
    FRAME.HEADERS,
    FLAG.END_HEADERS | FLAG.PADDED,
    Buffer.concat([bytes(200), STATUS_200]),
  ),
  'padding longer than DATA': (stream) => {
    stream.head();
    stream.frame(FRAME.DATA, FLAG.PADDED | END, Buffer.concat([bytes(200), Buffer.from('ok')]));
  },
  'HEADERS longer than allowed': one(FRAME.HEADERS, FLAG.END_HEADERS, Buffer.concat([ok(), Buffer.alloc(20_000)])),
  'DATA longer than allowed': (stream) => {
    stream.head();
    stream.frame(FRAME.DATA, END, Buffer.alloc(20_000));
  },
  'a frame length of 16 MiB': (stream) => {
    stream.socket.write(Buffer.concat([bytes(0xff, 0xff, 0xff, FRAME.DATA, 0), uint32(stream.id), Buffer.alloc(99)]));
  },
  'bytes that are not HTTP/2': (stream) => {
    stream.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  },
  'CONTINUATION without HEADERS': one(FRAME.CONTINUATION, FLAG.END_HEADERS, ok()),
  'CONTINUATION after END_HEADERS': (stream) => {
    stream.head();
    stream.frame(FRAME.CONTINUATION, FLAG.END_HEADERS, literal('x', 'y'));
    stream.frame(FRAME.DATA, END, Buffer.from('ok'));
  },
  'DATA within a header block': (stream) => {
    stream.frame(FRAME.HEADERS, FLAG.NONE, ok());
    stream.frame(FRAME.DATA, END, Buffer.from('ok'));
  },
  'DATA before HEADERS': one(FRAME.DATA, END, Buffer.from('ok')),
  'DATA on stream 0': one(FRAME.DATA, END, Buffer.from('ok'), 0),
  'DATA on an idle stream': one(FRAME.DATA, END, Buffer.from('ok'), 99),
  'HEADERS on stream 0': one(FRAME.HEADERS, END_BOTH, ok(), 0),
  'HEADERS on an idle stream': one(FRAME.HEADERS, END_BOTH, ok(), 99),
  "HEADERS on a server's stream": one(FRAME.HEADERS, END_BOTH, ok(), 2),
  'RST_STREAM on stream 0': one(FRAME.RST_STREAM, FLAG.NONE, uint32(0), 0),
  'RST_STREAM on an idle stream': one(FRAME.RST_STREAM, FLAG.NONE, uint32(0), 99),
  'RST_STREAM of the wrong length': one(FRAME.RST_STREAM, FLAG.NONE, Buffer.alloc(3)),
  'WINDOW_UPDATE on an idle stream': one(FRAME.WINDOW_UPDATE, FLAG.NONE, uint32(1), 99),
  'a window update of 0': one(FRAME.WINDOW_UPDATE, FLAG.NONE, uint32(0)),
  'a stream window that overflows': (stream) => {
    for (let i = 0; i < 2; i += 1) stream.frame(FRAME.WINDOW_UPDATE, FLAG.NONE, uint32(0x7fffffff));
  },
  'a connection window that overflows': (stream) => {
    for (let i = 0; i < 2; i += 1) stream.frame(FRAME.WINDOW_UPDATE, FLAG.NONE, uint32(0x7fffffff), 0);
  },
  'PUSH_PROMISE, which is turned off': one(
    FRAME.PUSH_PROMISE,
    FLAG.END_HEADERS,
    Buffer.concat([uint32(2), bytes(0x82, 0x87, 0x84), literal(':authority', 'localhost')]),
  ),
  'SETTINGS on a stream': one(FRAME.SETTINGS, FLAG.NONE, Buffer.alloc(0)),
  'SETTINGS of the wrong length': one(FRAME.SETTINGS, FLAG.NONE, Buffer.alloc(5), 0),
  'SETTINGS that acknowledge with a payload': one(FRAME.SETTINGS, FLAG.ACK, Buffer.alloc(6), 0),
  'an initial window that is too large': one(FRAME.SETTINGS, FLAG.NONE, setting(4, 0x80000000), 0),
  'a frame size that is too small': one(FRAME.SETTINGS, FLAG.NONE, setting(5, 1), 0),
  'a server that turns push on': one(FRAME.SETTINGS, FLAG.NONE, setting(2, 1), 0),
  'PING of the wrong length': one(FRAME.PING, FLAG.NONE, Buffer.alloc(7), 0),
  'PING on a stream': one(FRAME.PING, FLAG.NONE, Buffer.alloc(8)),
  'a response to no ping': one(FRAME.PING, FLAG.ACK, Buffer.alloc(8), 0),
  'GOAWAY on a stream': one(FRAME.GOAWAY, FLAG.NONE, goaway(0)),
  'a short GOAWAY': one(FRAME.GOAWAY, FLAG.NONE, Buffer.alloc(3), 0),
  'GOAWAY that names an even stream': (stream) => {
    stream.frame(FRAME.GOAWAY, FLAG.NONE, goaway(2), 0);
    complete(stream);
  },
  'GOAWAY with an increasing stream': (stream) => {
    stream.frame(FRAME.GOAWAY, FLAG.NONE, goaway(stream.id), 0);
    stream.frame(FRAME.GOAWAY, FLAG.NONE, goaway(stream.id + 100), 0);
    complete(stream);
  },
  'GOAWAY that disowns a response in flight': (stream) => {
    stream.head();
    stream.data('o');
    stream.frame(FRAME.GOAWAY, FLAG.NONE, goaway(0), 0);
    stream.frame(FRAME.DATA, END, Buffer.from('k'));
  },
  'PRIORITY of the wrong length': one(FRAME.PRIORITY, FLAG.NONE, Buffer.alloc(4)),
  'an index outside of the HPACK tables': (stream) => complete(stream, bytes(0x88, 0xff, 0xff, 0xff, 0x7f)),
  'HPACK index 0': (stream) => complete(stream, bytes(0x88, 0x80)),
  'an HPACK integer that overflows': (stream) => complete(stream, Buffer.concat([bytes(0x88), Buffer.alloc(11, 0xff)])),
  'an HPACK table larger than allowed': (stream) => complete(stream, bytes(0x3f, 0xff, 0xff, 0xff, 0x07, 0x88)),
  'a malformed Huffman code': (stream) => complete(stream, bytes(0x88, 0x00, 0x81, 0xff, 0x81, 0xff)),
  'a header block that breaks off': (stream) => complete(stream, bytes(0x88, 0x00, 0x05, 0x61)),
  'data beyond the window': (stream) => {
    stream.head();
    for (let i = 0; i < 200; i += 1) stream.data(Buffer.alloc(16_384));
  },
  'a second response': (stream) => {
    stream.head();
    stream.data('first');
    complete(stream);
  },
  'trailers that do not end the stream': (stream) => {
    stream.head();
    stream.data('o');
    stream.frame(FRAME.HEADERS, FLAG.END_HEADERS, literal('x-late', '1'));
    stream.frame(FRAME.DATA, END, Buffer.from('k'));
  },
  'trailers with a status': (stream) => {
    stream.head();
    stream.data('ok');
    stream.frame(FRAME.HEADERS, END_BOTH, literal(':status', '500'));
  },
  'DATA on a stream that was reset': (stream) => {
    stream.reset(8);
    stream.frame(FRAME.DATA, END, Buffer.from('injected'));
  },
};

/** Frames that a client must ignore, around a complete response. */
const TOLERATED: Record<string, Respond> = {
  'an unknown frame': (stream) => {
    stream.frame(0xfa, 0xff, Buffer.alloc(100));
    complete(stream);
  },
  'a huge HPACK table for requests': (stream) => {
    stream.frame(FRAME.SETTINGS, FLAG.NONE, setting(1, 0xffffffff), 0);
    complete(stream);
  },
  'GOAWAY that names a stream of the future': (stream) => {
    stream.frame(FRAME.GOAWAY, FLAG.NONE, goaway(0x7fffffff), 0);
    complete(stream);
  },
  'DATA after the end': (stream) => {
    complete(stream);
    stream.frame(FRAME.DATA, END, Buffer.from('injected'));
  },
  'HEADERS after the end': (stream) => {
    complete(stream);
    stream.frame(FRAME.HEADERS, END_BOTH, literal(':status', '500'));
  },
  'trailers, which are dropped': (stream) => {
    stream.head();
    stream.data('ok');
    stream.frame(FRAME.HEADERS, END_BOTH, literal('x-late', '1'));
  },
};

for (const [what, respond] of Object.entries(FATAL)) {
  test(`fails a response over HTTP/2, and uses no broken connection again: ${what}`, async (t) => {
    const { send } = await startHostileHttp2(t);
    const { body, last } = await send(respond);
    assert.equal(last, 'error');
    assert.doesNotMatch(body, /injected/);
    const next = await send(complete);
    assert.deepEqual([next.status, next.body, next.last], [200, 'ok', 'end']);
  });
}

for (const [what, respond] of Object.entries(TOLERATED)) {
  test(`relays a response over HTTP/2 unchanged: ${what}`, async (t) => {
    const { send } = await startHostileHttp2(t);
    for (const each of [respond, complete]) {
      const { status, body, last, headers } = await send(each);
      assert.deepEqual([status, body, last], [200, 'ok', 'end']);
      assert.deepEqual(headers, []);
    }
  });
}
