import { createServer, type TLSSocket } from 'node:tls';
import { closeServer, listen, type ServerTls } from './http-server.ts';

/** Types of frames (RFC 9113 section 6, and `ALTSVC` and `ORIGIN` from RFC 7838 and RFC 8336). */
export const FRAME = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
  ALTSVC: 10,
  ORIGIN: 12,
} as const;

/** Flags of frames. */
export const FLAG = { NONE: 0, ACK: 1, END_STREAM: 1, END_HEADERS: 4, PADDED: 8 } as const;

/** `:status: 200`, from the static table (RFC 7541 appendix A). */
export const STATUS_200 = Buffer.from([0x88]);

/** Encodes a header with a literal name and value that enters no table (RFC 7541 section 6.2.2). Both are shorter than 127 bytes. */
export function literal(name: string, value: string): Buffer {
  const [nameBytes, valueBytes] = [Buffer.from(name, 'latin1'), Buffer.from(value, 'latin1')];
  return Buffer.concat([Buffer.from([0, nameBytes.length]), nameBytes, Buffer.from([valueBytes.length]), valueBytes]);
}

const PREFACE_BYTES = 24;
const FRAME_HEADER_BYTES = 9;

/** Encodes a frame (RFC 9113 section 4.1). */
export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** Sends the frames of one stream. */
export interface RawStream {
  readonly id: number;
  readonly socket: TLSSocket;
  /** Sends the headers of a response with status 200. @param contentLength the value of `content-length` */
  head(contentLength?: number): void;
  /** Sends an encoded header block (RFC 7541). */
  block(bytes: Buffer): void;
  data(part: string | Buffer): void;
  /** Resets the stream. @param code RFC 9113 section 7 */
  reset(code: number): void;
  /** Sends a frame. @param id the stream; this one by default */
  frame(type: number, flags: number, payload: Buffer, id?: number): void;
}

export interface RawHttp2Server {
  readonly url: string;
  /** The number of opened streams of each connection. */
  readonly streams: number[];
  close(): Promise<void>;
}

/** An HTTP/2 server that responds to the headers of each request. It can send frames that `node:http2` cannot. */
export async function startRawHttp2(
  tls: ServerTls,
  respond: (stream: RawStream) => void,
  onPort?: number,
): Promise<RawHttp2Server> {
  const sockets = new Set<TLSSocket>();
  const streams: number[] = [];
  const server = createServer({ ...tls, ALPNProtocols: ['h2'] }, (socket) => {
    const connection = streams.push(0) - 1;
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.write(frame(FRAME.SETTINGS, FLAG.NONE, 0, Buffer.alloc(0)));
    let received = Buffer.alloc(0);
    let skipped = false;
    socket.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (!skipped && received.length < PREFACE_BYTES) return;
      if (!skipped) received = received.subarray(PREFACE_BYTES);
      skipped = true;
      while (
        received.length >= FRAME_HEADER_BYTES &&
        received.length >= FRAME_HEADER_BYTES + received.readUIntBE(0, 3)
      ) {
        const stream = received.readUInt32BE(5);
        const type = received.readUInt8(3);
        received = received.subarray(FRAME_HEADER_BYTES + received.readUIntBE(0, 3));
        if (type !== FRAME.HEADERS) continue;
        streams[connection] = (streams[connection] ?? 0) + 1;
        respond(streamOn(socket, stream));
      }
    });
  });
  const { port } = await listen(server, onPort);
  return {
    url: `https://localhost:${port}`,
    streams,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return closeServer(server);
    },
  };
}

function streamOn(socket: TLSSocket, id: number): RawStream {
  const send = (type: number, flags: number, payload: Buffer, on = id): void => {
    if (socket.writable) socket.write(frame(type, flags, on, payload));
  };
  return {
    id,
    socket,
    frame: send,
    head(contentLength) {
      const length = contentLength === undefined ? [] : [literal('content-length', String(contentLength))];
      send(FRAME.HEADERS, FLAG.END_HEADERS, Buffer.concat([STATUS_200, ...length]));
    },
    block: (bytes) => send(FRAME.HEADERS, FLAG.END_HEADERS, bytes),
    data: (part) => send(FRAME.DATA, FLAG.NONE, Buffer.from(part as string)),
    reset(code) {
      const reason = Buffer.alloc(4);
      reason.writeUInt32BE(code);
      send(FRAME.RST_STREAM, FLAG.NONE, reason);
    },
  };
}
