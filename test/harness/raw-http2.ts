import { createServer, type TLSSocket } from 'node:tls';
import { closeServer, listen, type ServerTls } from './http-server.ts';

const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PREFACE_BYTES = 24;
const FRAME_HEADER_BYTES = 9;

const END_HEADERS = 4;

/** Encodes a frame (RFC 9113 section 4.1). */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(FRAME_HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header.writeUInt8(type, 3);
  header.writeUInt8(flags, 4);
  header.writeUInt32BE(stream, 5);
  return Buffer.concat([header, payload]);
}

/** Sends the frames of one stream. */
export interface RawStream {
  /** Sends the headers of a response with status 200. @param contentLength the value of `content-length` */
  head(contentLength?: number): void;
  /** Sends an encoded header block (RFC 7541). */
  block(bytes: Buffer): void;
  data(part: string | Buffer): void;
  /** Resets the stream. @param code RFC 9113 section 7 */
  reset(code: number): void;
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
    socket.write(frame(SETTINGS, 0, 0, Buffer.alloc(0)));
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
        if (type !== HEADERS) continue;
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
  const send = (type: number, flags: number, payload: Buffer): void => {
    if (socket.writable) socket.write(frame(type, flags, id, payload));
  };
  return {
    head(contentLength) {
      // `:status: 200`, and `content-length` with a literal value, from the static table (RFC 7541 appendix A).
      const digits = String(contentLength);
      const length = contentLength === undefined ? [] : [Buffer.from([0x0f, 0x0d, digits.length]), Buffer.from(digits)];
      send(HEADERS, END_HEADERS, Buffer.concat([Buffer.from([0x88]), ...length]));
    },
    block: (bytes) => send(HEADERS, END_HEADERS, bytes),
    data: (part) => send(0, 0, Buffer.from(part as string)),
    reset(code) {
      const reason = Buffer.alloc(4);
      reason.writeUInt32BE(code);
      send(RST_STREAM, 0, reason);
    },
  };
}
