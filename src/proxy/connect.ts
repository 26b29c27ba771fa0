import type { IncomingMessage, Server } from 'node:http';
import { connect, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { CambistError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { ActiveConfig } from './active-config.ts';
import { TLS_HANDSHAKE } from './client-error.ts';
import { type DetachedSockets, isResponding, responseOn } from './detached.ts';
import { readEarlyBytes } from './early-bytes.ts';
import { join } from './join.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RequestTracker } from './request-tracker.ts';

export interface ConnectOptions {
  readonly activeConfig: () => ActiveConfig;
  readonly tracker: RequestTracker;
  readonly logger: Logger;
  readonly sockets: DetachedSockets;
}

/** As long as Node waits for the headers of a request. */
const FIRST_BYTES_MS = 60_000;
/** Until a tunnel's far end is connected to. */
const TUNNEL_CONNECT_MS = 5000;

const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';

/** A fatal `handshake_failure` alert. A TLS client would not understand an HTTP response. */
const TLS_REFUSAL = Buffer.from([0x15, 3, 1, 0, 2, 2, 40]);

/**
 * Serves CONNECT. For the host of a route, HTTP is served inside as if it had come directly. An authority that
 * `forward_proxy.connect` lists gets an opaque tunnel. Any other gets 403.
 * @see RFC 9110 section 9.3.6
 */
export function serveConnect(server: Server, { activeConfig, tracker, logger, sockets }: ConnectOptions): void {
  const inside = new WeakSet<Duplex>();

  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    sockets.add(socket);
    if (isResponding(socket)) {
      socket.destroy();
      return;
    }
    const { config, table } = activeConfig();
    const authority = readAuthority(request.url ?? '');
    if (authority !== undefined && config.forwardProxy.connect.includes(authority)) {
      tunnel(begin(request, socket), socket, head, authority);
    } else if (authority !== undefined && table.namesHost(hostOf(authority)) && !inside.has(socket)) {
      serveInside(request, socket, head, authority, config.limits.maxInFlight);
    } else {
      refuse(request, socket, notAllowed());
    }
  });

  function begin(request: IncomingMessage, socket: Duplex): ProxyRequest {
    return tracker.begin(request, responseOn(request, socket), request.url ?? '');
  }

  function refuse(request: IncomingMessage, socket: Duplex, error: unknown): void {
    begin(request, socket).fail(error);
  }

  function serveInside(request: IncomingMessage, socket: Duplex, head: Buffer, authority: string, max: number): void {
    try {
      tracker.assertCapacity(max);
    } catch (error) {
      refuse(request, socket, error);
      return;
    }
    socket.write(ESTABLISHED);
    if (head.length > 0) socket.unshift(head);
    onFirstBytes(socket as Socket, (bytes) => {
      if (bytes[0] === TLS_HANDSHAKE) {
        logger.warn(
          { authority },
          'TLS inside a tunnel to a route is refused: let the agent call an http:// URL, or list the authority in ' +
            'forward_proxy.connect if it needs no token',
        );
        socket.end(TLS_REFUSAL, () => socket.destroy());
        return;
      }
      inside.add(socket);
      socket.unshift(bytes);
      server.emit('connection', socket);
    });
  }

  function tunnel(request: ProxyRequest, socket: Socket, head: Buffer, authority: string): void {
    try {
      request.admitTunnel(authority);
    } catch (error) {
      request.fail(error);
      return;
    }
    const putBack = readEarlyBytes(socket, head);
    const host = hostOf(authority).replace(/^\[|\]$/g, '');
    const port = Number(authority.slice(authority.lastIndexOf(':') + 1));
    const far = connect({ host, port, allowHalfOpen: true });
    sockets.add(far);
    request.abortUpstream = () => far.destroy();
    const fail = (cause: Error): void => {
      far.destroy();
      request.fail(
        new CambistError('ERR_UPSTREAM_UNREACHABLE', `forward_proxy: "${authority}" cannot be reached`, { cause }),
      );
    };
    const timer = setTimeout(() => fail(new Error('not connected in time')), TUNNEL_CONNECT_MS);
    far.once('error', fail);
    far.once('close', () => clearTimeout(timer));
    far.once('connect', () => {
      clearTimeout(timer);
      far.off('error', fail);
      request.abortUpstream = undefined;
      request.tunnelled(authority);
      socket.write(ESTABLISHED);
      putBack();
      join(socket, far, { watch: tracker.options.watch, stallMs: request.stallMs() });
    });
  }
}

/** Waits for what the client says first, and gives up on one that says nothing. */
function onFirstBytes(socket: Socket, take: (bytes: Buffer) => void): void {
  const giveUp = (): void => void socket.destroy();
  socket.setTimeout(FIRST_BYTES_MS, giveUp);
  const look = (): void => {
    const bytes = socket.read() as Buffer | null;
    if (bytes === null) return;
    socket.off('readable', look);
    socket.off('end', giveUp);
    socket.setTimeout(0, giveUp);
    take(bytes);
  };
  socket.on('readable', look);
  socket.once('end', giveUp);
}

/** A host and a port, in the form in which the config has them; undefined for all else. */
function readAuthority(target: string): string | undefined {
  const [, host, port] = /^([A-Za-z0-9._-]{1,254}|\[[0-9A-Fa-f:.]{2,45}\]):(\d{1,5})$/.exec(target) ?? [];
  if (host === undefined || port === undefined) return undefined;
  return `${host.toLowerCase().replace(/\.$/, '')}:${Number(port)}`;
}

function hostOf(authority: string): string {
  return authority.slice(0, authority.lastIndexOf(':'));
}

function notAllowed(): CambistError {
  return new CambistError(
    'ERR_ROUTE_NOT_FOUND',
    'CONNECT to an authority that is neither the host of a route nor in forward_proxy.connect',
  );
}
