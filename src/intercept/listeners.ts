import { once } from 'node:events';
import type { Server as HttpServer } from 'node:http';
import { createServer, type Server } from 'node:net';
import type { TcpListen } from '../config/addresses.ts';
import { type ConnectionLimit, limitConnections } from '../listeners/limit-connections.ts';
import { KEEP_ALIVE_PROBES, listenUrl, whyNotListening } from '../listeners/listen.ts';
import { logAcceptErrors, reachedLimit } from '../listeners/open-files.ts';
import type { Logger } from '../observability/logger.ts';
import { type RedirectedOptions, serveRedirected } from './redirected.ts';

/** The open listeners of `intercept.listen`. */
export interface InterceptListeners {
  /** `http://host:port` each. */
  readonly addresses: readonly string[];
  /** Number of open connections. */
  connections(): number;
  close(): Promise<void>;
}

export interface InterceptListenersOptions extends RedirectedOptions {
  /** Reads the requests of all listeners. */
  readonly http: HttpServer;
}

/** @throws {Error} with the address and the reason */
export async function openInterceptListeners(
  addresses: readonly TcpListen[],
  options: InterceptListenersOptions,
  logger: Logger,
): Promise<InterceptListeners> {
  const { activeConfig, http } = options;
  const max = () => activeConfig().config.limits.maxConnections;
  const onDropped = (count: number): void => {
    const reached = reachedLimit(activeConfig().config.limits);
    logger.warn({}, `${reached}; dropped ${count} connections to intercept.listen`);
  };
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
      limits.push(limitConnections(server, { max, http, onDropped }));
      logAcceptErrors(server, 'intercept.listen', logger);
      servers.push(server);
      opened.push(await open(server, address));
    }
    const connections = () => limits.reduce((sum, { counts }) => sum + counts.open, 0);
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
