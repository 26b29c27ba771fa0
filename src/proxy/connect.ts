import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Config } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { Agent, Identify } from '../identity/identify.ts';
import { connectionEvent } from '../listeners/idle-connection.ts';
import { redact } from '../observability/logged-error.ts';
import type { Logger } from '../observability/logger.ts';
import type { WayIn } from '../observability/proxy-observer.ts';
import type { Reach } from '../transport/dispatchers.ts';
import type { ActiveConfig } from './active-config.ts';
import { setArrival, type TlsBridge } from './arrival.ts';
import { TLS_HANDSHAKE } from './client-error.ts';
import {
  type AllowedTunnel,
  type Authority,
  allowedTunnel,
  isPlainAuthority,
  readAuthority,
} from './connect-authority.ts';
import { type DetachedSockets, isResponding, responseOn } from './detached.ts';
import { failRequest } from './fail-request.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RequestTracker } from './request-tracker.ts';
import { senderOf } from './sender.ts';
import { connectFarEnd, join, readEarlyBytes } from './tunnel.ts';

export interface ConnectOptions {
  readonly activeConfig: () => ActiveConfig;
  readonly tracker: RequestTracker;
  readonly logger: Logger;
  readonly sockets: DetachedSockets;
  /** Terminates TLS inside CONNECT. Without it, such TLS is refused. */
  readonly tlsBridge: TlsBridge | undefined;
  /** Finds the far ends of tunnels, and connects to them. */
  readonly reach: Reach;
  /** Exists where agents or clients have an identity. */
  readonly identify?: Identify | undefined;
}

/** As long as Node waits for the headers of a request. */
const FIRST_BYTES_MS = 60_000;

const ESTABLISHED = 'HTTP/1.1 200 Connection Established\r\n\r\n';

/** A fatal `handshake_failure` alert. A TLS client would not understand an HTTP response. */
const HANDSHAKE_FAILURE = Buffer.from([0x15, 3, 1, 0, 2, 2, 40]);

/**
 * Serves CONNECT. For the host of a route, HTTP is served inside as if it had come directly, after TLS is terminated. Whatever
 * fails, the route's host never gets a tunnel. An authority that `forward_proxy.connect` lists gets an opaque one. Any
 * other gets 403.
 * @see RFC 9110 section 9.3.6
 */
export function serveConnect(server: Server, options: ConnectOptions): EnterServer {
  const { activeConfig, tracker, logger, sockets, tlsBridge, identify } = options;
  const inside = new WeakSet<Duplex>();

  server.on('connect', (request: IncomingMessage, socket: Socket, head: Buffer) => {
    sockets.add(socket);
    if (isResponding(socket)) {
      socket.destroy();
      return;
    }
    if (identify === undefined) {
      take(request, socket, head, undefined);
      return;
    }
    const { agents } = activeConfig().config;
    // The connection may have closed meanwhile, and its counts would then never decrease.
    (async () => senderOf(identify, agents, request))().then(
      (agent) => socket.destroyed || take(request, socket, head, agent),
      (error: unknown) => socket.destroyed || fail(request, socket, error),
    );
  });

  function take(request: IncomingMessage, socket: Socket, head: Buffer, agent: Agent | undefined): void {
    const { config, table } = activeConfig();
    const authority = readAuthority(request.url ?? '');
    const isRouted = authority !== undefined && table.namesHost(authority.host);
    const allowed =
      authority === undefined || isRouted ? undefined : allowedTunnel(config.forwardProxy.connect, authority);
    if (allowed !== undefined && authority !== undefined) {
      openTunnel(begin(request, socket, agent), socket, head, authority, allowed, options);
    } else if (isRouted && !inside.has(socket)) {
      serveInside(request, socket, head, authority, config, agent);
    } else {
      fail(request, socket, notAllowed(request.url ?? '', authority, isRouted), agent);
    }
  }

  function begin(request: IncomingMessage, socket: Duplex, agent: Agent | undefined): ProxyRequest {
    const begun = tracker.begin(request, responseOn(request, socket), request.url ?? '');
    begun.record.agent = agent?.name;
    return begun;
  }

  function fail(request: IncomingMessage, socket: Duplex, error: unknown, agent?: Agent): void {
    failRequest(begin(request, socket, agent), error);
  }

  function serveInside(
    request: IncomingMessage,
    socket: Socket,
    head: Buffer,
    to: Authority,
    config: Config,
    agent: Agent | undefined,
  ): void {
    try {
      if (agent !== undefined) tracker.agentShares.connect(socket, agent.name, config);
      tracker.assertCapacity(config.limits.maxInFlight);
    } catch (error) {
      fail(request, socket, error, agent);
      return;
    }
    socket.write(ESTABLISHED);
    if (head.length > 0) socket.unshift(head);
    onFirstBytes(socket, (bytes) => {
      socket.unshift(bytes);
      if (bytes[0] !== TLS_HANDSHAKE) {
        enter(socket, 'proxy', undefined, request);
      } else if (tlsBridge === undefined) {
        logger.warn({ authority: to.host }, 'TLS to the host of a route is refused; set intercept to terminate it');
        socket.end(HANDSHAKE_FAILURE, () => socket.destroy());
      } else {
        tlsBridge.accept(socket, { host: to.host }, (secure) => enter(secure, 'proxy', to.host, request));
      }
    });
  }

  function enter(socket: Socket, wayIn: WayIn, host: string | undefined, connect?: IncomingMessage): void {
    inside.add(socket);
    setArrival(socket, wayIn, host, connect);
    server.emit(connectionEvent(server), socket);
  }

  return enter;
}

function openTunnel(
  request: ProxyRequest,
  socket: Socket,
  head: Buffer,
  to: Authority,
  allowed: AllowedTunnel,
  { tracker, sockets, reach }: ConnectOptions,
): void {
  const authority = `${to.host}:${to.port}`;
  try {
    if (request.record.agent !== undefined) request.agentFound(request.record.agent);
    request.admitTunnel(authority);
  } catch (error) {
    failRequest(request, error);
    return;
  }
  tracker.tunnels.add(to.host, socket);
  const putBack = readEarlyBytes(socket, head);
  const far = connectFarEnd(
    { host: allowed.host, port: to.port },
    reach,
    () => {
      request.abortUpstream = undefined;
      request.tunnelled(allowed.entry);
      socket.write(ESTABLISHED);
      putBack();
      join(socket, far, tracker.options.watch, request.stallMs());
    },
    (cause) => {
      const message = `forward_proxy: "${authority}" cannot be reached`;
      failRequest(request, new CambistError('ERR_UPSTREAM_UNREACHABLE', message, { cause }));
    },
  );
  sockets.add(far);
  request.abortUpstream = () => far.destroy();
}

/** Hands a connection to the HTTP server, which serves no CONNECT on it. */
export type EnterServer = (socket: Socket, wayIn: WayIn, host: string | undefined, connect?: IncomingMessage) => void;

/** Waits for the first bytes of a client. Closes a connection that stays silent. */
export function onFirstBytes(socket: Socket, take: (bytes: Buffer) => void): void {
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

/** @param isInside the authority is the host of a route, and the CONNECT arrived within another one */
function notAllowed(target: string, authority: Authority | undefined, isInside: boolean): CambistError {
  let why = 'an authority that is not a plain host:port';
  if (authority !== undefined && isPlainAuthority(target)) {
    // Label by label, because a token may stand in place of the host.
    const entry = `"${authority.host.split('.').map(redact).join('.')}:${authority.port}"`;
    why = isInside
      ? `${entry} inside another CONNECT: connect to its host directly`
      : `${entry}, which is neither the host of a route nor allowed: add a route with match.host, or add ${entry} to forward_proxy.connect`;
  }
  return new CambistError('ERR_ROUTE_NOT_FOUND', `CONNECT to ${why}`);
}
