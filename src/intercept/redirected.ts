import { connect, type LookupFunction, type Socket } from 'node:net';
import type { HandshakeFailure, ProxyObserver } from '../observability/proxy-observer.ts';
import type { ActiveConfig } from '../proxy/active-config.ts';
import { TLS_HANDSHAKE } from '../proxy/client-error.ts';
import { type EnterServer, onFirstBytes } from '../proxy/connect.ts';
import { type AllowedTunnel, allowedTunnel } from '../proxy/connect-authority.ts';
import type { DetachedSockets } from '../proxy/detached.ts';
import { join } from '../proxy/join.ts';
import type { RequestTracker } from '../proxy/request-tracker.ts';
import { DEFAULT_STALL_MS } from '../proxy/stall-watch.ts';
import type { TlsBridge } from '../proxy/tls-bridge.ts';
import { readFirstBytes } from './first-bytes.ts';
import type { ReportFailure } from './handshake-failure.ts';

export interface RedirectedOptions {
  readonly activeConfig: () => ActiveConfig;
  readonly tracker: RequestTracker;
  readonly sockets: DetachedSockets;
  readonly observer: ProxyObserver;
  readonly enter: EnterServer;
  readonly tlsBridge: TlsBridge;
  readonly failed: ReportFailure;
  /** Resolves names by DNS alone. */
  readonly lookup: LookupFunction;
  /** Returns why a new connection leads back to cambist. */
  readonly refuse: (socket: Socket) => Error | undefined;
}

/** For a whole ClientHello, from its first byte. */
const HELLO_MS = 10_000;
/** Until the far end of a tunnel is connected to. */
const TUNNEL_CONNECT_MS = 5000;
/** The port of https, where packets of any port may have been redirected to one listener. */
const HTTPS_PORT = 443;

/**
 * Takes connections that were meant for another host. The name in the TLS handshake says for which: that of a route is terminated,
 * one that `forward_proxy.connect` allows passes untouched, any other is closed. Plain HTTP is routed by its `Host`.
 */
export function serveRedirected(options: RedirectedOptions): (socket: Socket) => void {
  const { activeConfig, sockets, enter, tlsBridge, failed } = options;

  function decide(socket: Socket, host: string): void {
    const { config, table } = activeConfig();
    if (table.namesHost(host)) {
      const arrival = { host, wayIn: 'redirect', userAgent: undefined } as const;
      tlsBridge.accept(socket, arrival, (secure) => enter(secure, 'redirect', host));
      return;
    }
    const port = socket.localPort ?? HTTPS_PORT;
    const entries = config.forwardProxy.connect;
    for (const each of new Set([port, HTTPS_PORT])) {
      const allowed = allowedTunnel(entries, { host, port: each });
      if (allowed !== undefined) {
        passThrough(socket, each, allowed, options);
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

/** Passes bytes unread, the ClientHello first. */
function passThrough(
  socket: Socket,
  port: number,
  { entry, host }: AllowedTunnel,
  { activeConfig, tracker, sockets, observer, lookup, refuse }: RedirectedOptions,
): void {
  try {
    tracker.assertCapacity(activeConfig().config.limits.maxInFlight);
  } catch {
    // TLS has no response for an overload. The metrics and the log of other requests show it.
    socket.destroy();
    return;
  }
  const far = connect({ host, port, lookup, allowHalfOpen: true });
  sockets.add(far);
  tracker.inFlight += 1;
  socket.once('close', () => {
    far.destroy();
    tracker.ended();
  });
  const timer = setTimeout(() => far.destroy(), TUNNEL_CONNECT_MS);
  far.once('close', () => {
    clearTimeout(timer);
    if (far.bytesRead === 0) socket.destroy();
  });
  far.once('connect', () => {
    clearTimeout(timer);
    if (refuse(far) !== undefined) {
      far.destroy();
      return;
    }
    observer.tunnelOpened(entry);
    socket.once('close', () => observer.tunnelClosed(entry));
    join(socket, far, { watch: tracker.options.watch, stallMs: DEFAULT_STALL_MS });
  });
}
