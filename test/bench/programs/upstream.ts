import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { createMessageReader } from './message-reader.ts';
import { EVENTS_A_STREAM, type TlsKeys } from './protocol.ts';

/** Each open stream gets an event this often, as a server that keeps it alive does. */
const KEEP_ALIVE_MS = 10_000;

const ANSWER_BODY = JSON.stringify({
  jsonrpc: '2.0',
  id: 7,
  result: { content: [{ type: 'text', text: 'Found 3 issues. '.repeat(16) }], isError: false },
});
const ANSWER = Buffer.from(
  `HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncache-control: no-store\r\n` +
    `date: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-length: ${ANSWER_BODY.length}\r\n\r\n${ANSWER_BODY}`,
);
const STREAM_HEAD =
  'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-cache\r\n' +
  'x-accel-buffering: no\r\ntransfer-encoding: chunked\r\n\r\n';
const EVENT_TEXT = `event: message\ndata: ${JSON.stringify({
  jsonrpc: '2.0',
  method: 'notifications/progress',
  params: { progressToken: 'a', progress: 1, total: EVENTS_A_STREAM },
})}\n\n`;
const EVENT = Buffer.from(`${EVENT_TEXT.length.toString(16)}\r\n${EVENT_TEXT}\r\n`);

/** An MCP backend that has its answers ready: what it costs is what reading and writing costs. */
export async function startUpstream(tls: TlsKeys): Promise<{ port: number; tlsPort: number }> {
  const plain = createServer({ noDelay: true }, serve);
  const secure = createTlsServer({ ...tls, noDelay: true } as object, serve);
  return { port: await listen(plain), tlsPort: await listen(secure) };
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as AddressInfo).port));
  });
}

function serve(socket: Socket): void {
  const read = createMessageReader(
    () => {},
    (head) => {
      const line = head.slice(0, head.indexOf('\r\n'));
      if (line.includes('?events')) sendEvents(socket);
      else if (line.includes('?hold')) hold(socket);
      else socket.write(ANSWER);
    },
  );
  socket.on('data', read);
  socket.on('error', () => socket.destroy());
}

function sendEvents(socket: Socket): void {
  let left = EVENTS_A_STREAM;
  socket.write(STREAM_HEAD);
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
  socket.write(STREAM_HEAD);
  socket.write(EVENT);
  const timer = setInterval(() => socket.write(EVENT), KEEP_ALIVE_MS);
  socket.once('close', () => clearInterval(timer));
}
