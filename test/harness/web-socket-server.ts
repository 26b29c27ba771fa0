import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { sendResponse } from './fake-authorization-server.ts';
import { startHttpServer } from './http-server.ts';
import type { Lifetime } from './lifetime.ts';

type Handshake = ReturnType<typeof receive>;

export type WebSocketServer = Awaited<ReturnType<typeof startWebSocketServer>>;

/** RFC 6455 section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** A WebSocket server that echoes texts. It supports only short texts in unfragmented frames. */
export async function startWebSocketServer(t: Lifetime) {
  const upgrade = (request: IncomingMessage, socket: Duplex): void => {
    const handshake = receive(request, socket);
    running.handshakes.push(handshake);
    const refusal = running.refusal(handshake);
    if (refusal !== undefined) socket.end(refusal);
    else acceptWebSocket(request, socket, running.greeting);
  };
  const onRequest = ({ method, url, rawHeaders }: IncomingMessage, response: ServerResponse): void =>
    sendResponse(response, 200, { method, url, rawHeaders });
  const { url, port, close } = await startHttpServer(onRequest, { upgrade });
  t.after(close);
  const running = {
    url,
    port,
    handshakes: [] as Handshake[],
    /** Returns a response that refuses the handshake and closes the connection; undefined to accept. */
    refusal: (_handshake: Handshake): string | undefined => undefined,
    /** A text frame sent in the same write as the handshake response. */
    greeting: undefined as string | undefined,
  };
  return running;
}

function receive({ url = '', headers, rawHeaders }: IncomingMessage, socket: Duplex) {
  return { url, headers, rawHeaders, authorization: headers.authorization, socket };
}

/** Accepts a handshake, and echoes texts. */
export function acceptWebSocket({ headers }: IncomingMessage, socket: Duplex, greeting?: string): void {
  const key = createHash('sha1').update(`${headers['sec-websocket-key']}${GUID}`).digest('base64');
  const [protocol] = (headers['sec-websocket-protocol'] ?? '').split(',');
  const lines = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: WebSocket', 'Connection: Upgrade, X-Hop', 'X-Hop: 1'];
  lines.push(`Sec-WebSocket-Accept: ${key}`);
  if (protocol !== undefined && protocol !== '') lines.push(`Sec-WebSocket-Protocol: ${protocol}`);
  const bytes = Buffer.from(`${lines.join('\r\n')}\r\n\r\n`);
  socket.write(greeting === undefined ? bytes : Buffer.concat([bytes, frame(0x81, Buffer.from(greeting))]));
  socket.on('data', (chunk: Buffer) => {
    const [opcode, content] = unmask(chunk);
    if (opcode === 1) socket.write(frame(0x81, content));
    if (opcode === 8) socket.end(frame(0x88, content));
  });
}

/** Encodes an unmasked frame of a server (RFC 6455 section 5.2). */
function frame(firstByte: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([firstByte, content.length]), content]);
}

function unmask(chunk: Buffer): [opcode: number, content: Buffer] {
  const length = (chunk[1] ?? 0) & 0x7f;
  const mask = chunk.subarray(2, 6);
  const content = Buffer.from(chunk.subarray(6, 6 + length));
  for (let i = 0; i < content.length; i += 1) content[i] = (content[i] ?? 0) ^ (mask[i % 4] ?? 0);
  return [(chunk[0] ?? 0) & 0x0f, content];
}
