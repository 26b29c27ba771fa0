import type { IncomingMessage, Server } from 'node:http';
import type { Duplex } from 'node:stream';
import { type DetachedSockets, isAnswering, responseOn } from './detached.ts';
import { createEntrance, type EntranceOptions } from './entrance.ts';
import { type ForwardOptions, forward } from './forward.ts';
import { headerValues } from './headers.ts';
import { join } from './join.ts';
import type { Passage } from './passage.ts';
import { upstreamError } from './upstream-error.ts';

export interface UpgradeOptions extends EntranceOptions, ForwardOptions {
  readonly sockets: DetachedSockets;
}

/**
 * Takes WebSocket handshakes to their route, with the bearer that any request there gets, and then passes bytes. A request
 * that offers another protocol is served as if it had not, which a server may always do.
 * @see RFC 6455 section 4, RFC 9110 section 7.8
 */
export function serveUpgrades(server: Server, options: UpgradeOptions): void {
  const { traffic, sockets } = options;
  const enter = createEntrance(options);

  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    if (isAnswering(socket)) {
      socket.destroy();
      return;
    }
    if (!isWebSocket(request)) {
      socket.unshift(Buffer.concat([headWithoutUpgrade(request), head]));
      server.emit('connection', socket);
      return;
    }
    sockets.add(socket);
    const stopWatching = destroyAtEnd(socket);
    const passage = traffic.begin(request, responseOn(request, socket), request.url ?? '');
    enter(passage, () => handshake(passage, socket, head, stopWatching));
  });

  function handshake(passage: Passage, socket: Duplex, head: Buffer, stopWatching: () => void): void {
    const switched = (protocol: string | undefined, headers: readonly string[], far: Duplex): void => {
      sockets.add(far);
      if (passage.gone || protocol === undefined || !namesWebSocket(protocol)) {
        far.destroy();
        const name = passage.route?.name ?? '';
        traffic.problem(passage, upstreamError(new Error('it switched to another protocol'), name));
        return;
      }
      stopWatching();
      traffic.switched(passage, headers);
      if (head.length > 0) socket.unshift(head);
      join(socket, far);
    };
    forward(passage, options, switched);
  }
}

/** Nobody reads the connection until it has switched, so nobody would see that the client is gone. @returns ends the watch */
function destroyAtEnd(socket: Duplex): () => void {
  const gone = (): void => void socket.destroy();
  const look = (): void => {
    const bytes = socket.read() as Buffer | null;
    if (bytes === null) return;
    // It talks before it was answered, which RFC 6455 does not let it.
    stop();
    socket.unshift(bytes);
  };
  const stop = (): void => {
    socket.off('readable', look);
    socket.off('end', gone);
  };
  socket.on('readable', look);
  socket.once('end', gone);
  return stop;
}

function namesWebSocket(value: string): boolean {
  return value.trim().toLowerCase() === 'websocket';
}

function isWebSocket({ method, headers, rawHeaders }: IncomingMessage): boolean {
  const offered = headerValues(rawHeaders, 'upgrade');
  const hasBody = headers['transfer-encoding'] !== undefined || (headers['content-length'] ?? '0') !== '0';
  return method === 'GET' && !hasBody && offered.length === 1 && offered.every(namesWebSocket);
}

/** A request's head as it came, less the header that would make it an upgrade again. */
function headWithoutUpgrade({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  const lines = [`${method} ${url} HTTP/${httpVersion}`];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string;
    if (name.toLowerCase() !== 'upgrade') lines.push(`${name}: ${rawHeaders[i + 1]}`);
  }
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
}
