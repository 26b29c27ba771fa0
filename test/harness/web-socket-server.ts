import { createHash } from 'node:crypto';
import { createServer, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import { closeServer, listen } from './http-server.ts';

/** One handshake as it arrived. */
export interface Handshake {
  url: string;
  headers: IncomingHttpHeaders;
  rawHeaders: string[];
  authorization: string | undefined;
  socket: Duplex;
}

export interface WebSocketServer {
  url: string;
  port: number;
  handshakes: Handshake[];
  /** Undefined: the WebSocket opens. Else the bytes that answer the handshake, after which the connection ends. */
  refusal: (handshake: Handshake) => string | undefined;
  /** Sent with the answer to a handshake, in one piece. */
  greeting: string | undefined;
  close(): Promise<void>;
}

/** RFC 6455 section 1.3. */
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

/** A WebSocket server that sends back each text that it gets; short ones alone, each in a frame that comes whole. */
export async function startWebSocketServer(): Promise<WebSocketServer> {
  const sockets = new Set<Duplex>();
  const server = createServer((request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ method: request.method, url: request.url, rawHeaders: request.rawHeaders }));
  });
  server.on('upgrade', (request, socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.once('close', () => sockets.delete(socket));
    const handshake = receive(request, socket);
    running.handshakes.push(handshake);
    const refusal = running.refusal(handshake);
    if (refusal !== undefined) socket.end(refusal);
    else accept(request, socket, running.greeting);
  });
  const { port } = await listen(server);
  const running: WebSocketServer = {
    url: `http://127.0.0.1:${port}`,
    port,
    handshakes: [],
    refusal: () => undefined,
    greeting: undefined,
    close: () => {
      for (const socket of sockets) socket.destroy();
      const closed = closeServer(server);
      server.closeAllConnections();
      return closed;
    },
  };
  return running;
}

function receive({ url = '', headers, rawHeaders }: IncomingMessage, socket: Duplex): Handshake {
  return { url, headers, rawHeaders, authorization: headers.authorization, socket };
}

function accept({ headers }: IncomingMessage, socket: Duplex, greeting: string | undefined): void {
  const key = createHash('sha1').update(`${headers['sec-websocket-key']}${GUID}`).digest('base64');
  const [protocol] = (headers['sec-websocket-protocol'] ?? '').split(',');
  const head = ['HTTP/1.1 101 Switching Protocols', 'Upgrade: WebSocket', 'Connection: Upgrade, X-Hop', 'X-Hop: 1'];
  head.push(`Sec-WebSocket-Accept: ${key}`);
  if (protocol !== undefined && protocol !== '') head.push(`Sec-WebSocket-Protocol: ${protocol}`);
  const bytes = Buffer.from(`${head.join('\r\n')}\r\n\r\n`);
  socket.write(greeting === undefined ? bytes : Buffer.concat([bytes, frame(0x81, Buffer.from(greeting))]));
  socket.on('data', (chunk: Buffer) => {
    const [opcode, content] = unmask(chunk);
    if (opcode === 1) socket.write(frame(0x81, content));
    if (opcode === 8) socket.end(frame(0x88, content));
  });
}

/** A frame without a mask, of a server (RFC 6455 section 5.2). */
function frame(head: number, content: Buffer): Buffer {
  return Buffer.concat([Buffer.from([head, content.length]), content]);
}

function unmask(chunk: Buffer): [opcode: number, content: Buffer] {
  const length = (chunk[1] ?? 0) & 0x7f;
  const mask = chunk.subarray(2, 6);
  const content = Buffer.from(chunk.subarray(6, 6 + length));
  for (let i = 0; i < content.length; i += 1) content[i] = (content[i] ?? 0) ^ (mask[i % 4] ?? 0);
  return [(chunk[0] ?? 0) & 0x0f, content];
}
