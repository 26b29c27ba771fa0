import { createServer, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { listen } from '../../harness/http-server.ts';
import { createMessageReader } from './message-reader.ts';
import { EVENTS_PER_STREAM, type TlsKeys } from './protocol.ts';

/** The interval of events on open streams, as of a server that keeps them alive. */
const KEEP_ALIVE_MS = 10_000;

const RESPONSE_BODY = JSON.stringify({
  jsonrpc: '2.0',
  id: 7,
  result: { content: [{ type: 'text', text: 'Found 3 issues. '.repeat(16) }], isError: false },
});
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n` +
    `date: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-length: ${RESPONSE_BODY.length}\r\n\r\n${RESPONSE_BODY}`,
);
const STREAM_HEADERS =
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n' +
  'x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n';
const EVENT_TEXT = `event: message\ndata: ${JSON.stringify({
  jsonrpc: '2.0',
  method: 'notifications/progress',
  params: { progressToken: 'a', progress: 1, total: EVENTS_PER_STREAM },
})}\n\n`;
const EVENT = Buffer.from(`${EVENT_TEXT.length.toString(16)}\r\n${EVENT_TEXT}\r\n`);

/** An MCP backend with prepared responses. Its only cost is reading and writing. */
export async function startUpstream(tls: TlsKeys): Promise<{ port: number; tlsPort: number }> {
  const plain = createServer({ noDelay: true }, serve);
  const secure = createTlsServer({ ...tls, noDelay: true } as object, serve);
  return { port: (await listen(plain)).port, tlsPort: (await listen(secure)).port };
}

function serve(socket: Socket): void {
  const read = createMessageReader(
    () => {},
    (headers) => {
      const line = headers.slice(0, headers.indexOf('\r\n'));
      if (line.includes('?events')) sendEvents(socket);
      else if (line.includes('?hold')) hold(socket);
      else socket.write(RESPONSE);
    },
  );
  socket.on('data', read);
  socket.on('error', () => socket.destroy());
}

function sendEvents(socket: Socket): void {
  let left = EVENTS_PER_STREAM;
  socket.write(STREAM_HEADERS);
  const next = (): void => {
    if (socket.destroyed) return;
    left -= 1;
    socket.write(EVENT);
    if (left > 0) setImmediate(next);
    else socket.write('0\r\n\r\n');
  };
  setImmediate(next);
}

function hold(socket: Socket): void {
  socket.write(STREAM_HEADERS);
  socket.write(EVENT);
  const timer = setInterval(() => socket.write(EVENT), KEEP_ALIVE_MS);
  socket.once('close', () => clearInterval(timer));
}
