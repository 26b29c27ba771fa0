import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import { createServer, type Server, type Socket } from 'node:net';
import type { TcpListen } from '../config/addresses.ts';
import type { ConnectionLimit } from '../listeners/limit-connections.ts';
import { KEEP_ALIVE_PROBES, listenUrl, whyNotListening } from '../listeners/listen.ts';
import { limitCallers } from '../listeners/open-files.ts';
import type { Logger } from '../observability/logger.ts';
import type { HandshakeFailure, ProxyObserver } from '../observability/proxy-observer.ts';
import type { TlsBridge } from '../proxy/arrival.ts';
import { TLS_HANDSHAKE } from '../proxy/client-error.ts';
import { type ConnectOptions, type EnterServer, onFirstBytes } from '../proxy/connect.ts';
import { type AllowedTunnel, type Authority, allowedTunnel } from '../proxy/connect-authority.ts';
import { DEFAULT_STALL_MS } from '../proxy/stall-watch.ts';
import { connectFarEnd, join } from '../proxy/tunnel.ts';
import { assertShare } from '../proxy/upstream-share.ts';
import { readFirstBytes } from './client-hello.ts';
import type { ReportFailure } from './handshake-failure.ts';

export interface RedirectedOptions extends Pick<ConnectOptions, 'activeConfig' | 'tracker' | 'sockets' | 'reach'> {
  readonly observer: ProxyObserver;
  readonly enter: EnterServer;
  readonly tlsBridge: TlsBridge;
  readonly failed: ReportFailure;
}

/** Longest wait for a whole ClientHello, from its first byte. */
const HELLO_MS = 10_000;
/** The port of https, where packets of any port may have been redirected to one listener. */
const HTTPS_PORT = 443;

/**
 * Serves connections that were meant for another host, which the TLS handshake names. TLS for the host of a route is terminated. A
 * connection to a host that `forward_proxy.connect` allows passes untouched. Any other is closed. Plain HTTP is routed by its `Host`.
 */
export function serveRedirected(options: RedirectedOptions): (socket: Socket) => void {
  const { activeConfig, sockets, enter, tlsBridge, failed } = options;

  /** @param host named by the ClientHello, which waits to be read again */
  function decide(socket: Socket, host: string): void {
    const { config, table } = activeConfig();
    if (table.namesHost(host)) {
      tlsBridge.accept(socket, { host, serverName: host }, (secure) => enter(secure, 'redirect', host));
      return;
    }
    const port = socket.localPort ?? HTTPS_PORT;
    const entries = config.forwardProxy.connect;
    for (const each of new Set([port, HTTPS_PORT])) {
      const authority = { host, port: each };
      const allowed = allowedTunnel(entries, authority);
      if (allowed !== undefined) {
        passThrough(socket, authority, allowed, options);
        return;
      }
    }
    failed(socket, host, 'unrouted');
  }

  return (socket) => {
    sockets.add(socket);
    onFirstBytes(socket, (bytes) => {
      socket.unshift(bytes);
      if (bytes[0] !== TLS_HANDSHAKE) {
        enter(socket, 'redirect', undefined);
        return;
      }
      const fail = (cause: HandshakeFailure): void => failed(socket, undefined, cause);
      const timer = setTimeout(() => fail('timeout'), HELLO_MS);
      socket.once('close', () => clearTimeout(timer));
      readFirstBytes(socket, (hello) => {
        clearTimeout(timer);
        if (hello.kind === 'malformed') fail('protocol');
        else if (hello.serverName === undefined) fail('server_name');
        else decide(socket, hello.serverName);
      });
    });
  };
}

/** Passes bytes unread, the ClientHello first. Logs a failure, because TLS has no response for it. */
function passThrough(
  socket: Socket,
  to: Authority,
  { entry, host }: AllowedTunnel,
  { activeConfig, tracker, sockets, observer, reach }: RedirectedOptions,
): void {
  const authority = `${to.host}:${to.port}`;
  const { limits } = activeConfig().config;
  const share = tracker.shares.join(authority);
  tracker.inFlight += 1;
  socket.once('close', () => {
    share.inFlight -= 1;
    tracker.shares.forget(authority);
    tracker.ended();
  });
  const fail = (err: unknown): void => {
    tracker.options.logger.warn({ authority, err }, 'redirected connection cannot be passed on; closing it');
    socket.destroy();
  };
  try {
    tracker.assertCapacity(limits.maxInFlight);
    assertShare(share, limits, `tunnel to "${authority}"`);
  } catch (error) {
    fail(error);
    return;
  }
  tracker.tunnels.add(to.host, socket);
  const far = connectFarEnd(
    { host, port: to.port },
    reach,
    () => {
      observer.tunnelOpened(entry);
      socket.once('close', () => observer.tunnelClosed(entry));
      join(socket, far, tracker.options.watch, DEFAULT_STALL_MS);
    },
    fail,
  );
  sockets.add(far);
  socket.once('close', () => far.destroy());
}

export type InterceptListeners = Awaited<ReturnType<typeof openInterceptListeners>>;

export interface InterceptListenersOptions extends RedirectedOptions {
  /** Reads the requests of all listeners. */
  readonly http: HttpServer;
}

/** @returns the addresses, each as `http://host:port` @throws {Error} with the address and the reason */
export async function openInterceptListeners(
  addresses: readonly TcpListen[],
  options: InterceptListenersOptions,
  logger: Logger,
) {
  const { activeConfig, http } = options;
  const callers = () => activeConfig().config.limits;
  const serve = serveRedirected(options);
  const servers: Server[] = [];
  const limits: ConnectionLimit[] = [];
  const close = async (): Promise<void> => {
    for (const server of servers) server.close();
  };
  try {
    const opened: string[] = [];
    for (const address of addresses) {
      const server = createServer({ allowHalfOpen: true, noDelay: true, ...KEEP_ALIVE_PROBES }, serve);
      limits.push(limitCallers(server, 'intercept.listen', http, callers, logger));
      servers.push(server);
      opened.push(await open(server, address));
    }
    const connections = (): number => limits.reduce((sum, { counts }) => sum + counts.open, 0);
    return { addresses: opened, connections, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function open(server: Server, { host, port }: TcpListen): Promise<string> {
  try {
    server.listen({ host, port });
    await once(server, 'listening');
  } catch (cause) {
    throw new Error(`intercept.listen: cannot listen on ${host}:${port}: ${whyNotListening(cause)}`, { cause });
  }
  return listenUrl(server);
}
