import { createServer, type TLSSocket } from 'node:tls';
import { closeServer, listen, type ServerTls } from './http-server.ts';

const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PREFACE_BYTES = 24;
const HEAD_BYTES = 9;

/** One HTTP/2 frame (RFC 9113 section 4.1). */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/**
 * A server of HTTP/2 that answers each request with 200 and a part of its body, and then gives the stream up, for what
 * `node:http2` would not do.
 * @param contentLength is said to be that of the body
 * @param code of the RST_STREAM
 */
export async function startCancellingServer(tls: ServerTls, contentLength: number, part: string, code: number) {
  const sockets = new Set<TLSSocket>();
  const server = createServer({ ...tls, ALPNProtocols: ['h2'] }, (socket) => {
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
      while (received.length >= HEAD_BYTES && received.length >= HEAD_BYTES + received.readUIntBE(0, 3)) {
        const stream = received.readUInt32BE(5);
        if (received.readUInt8(3) === HEADERS) answer(socket, stream);
        received = received.subarray(HEAD_BYTES + received.readUIntBE(0, 3));
      }
    });
  });
  function answer(socket: TLSSocket, stream: number): void {
    const digits = String(contentLength);
    // `:status: 200`, and `content-length` with a literal value, by the static table (RFC 7541 appendix A).
    const head = Buffer.concat([Buffer.from([0x88, 0x0f, 0x0d, digits.length]), Buffer.from(digits)]);
    socket.write(frame(HEADERS, 4, stream, head));
    socket.write(frame(0, 0, stream, Buffer.from(part)));
    const reason = Buffer.alloc(4);
    reason.writeUInt32BE(code);
    setTimeout(() => socket.write(frame(RST_STREAM, 0, stream, reason)), 50);
  }
  const { port } = await listen(server);
  return {
    url: `https://localhost:${port}`,
    close: () => {
      for (const socket of sockets) socket.destroy();
      return closeServer(server);
    },
  };
}
