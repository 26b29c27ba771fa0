import fastify, { type FastifyInstance } from 'fastify';
import { createIdleCloser } from '../listeners/idle-connection.ts';
import { KEEP_ALIVE_PROBES, NO_SCHEMAS } from '../listeners/listen.ts';
import type { Logger } from '../observability/logger.ts';
import type { Reach } from '../transport/dispatchers.ts';
import type { ActiveConfig } from './active-config.ts';
import { createClientErrorHandler } from './client-error.ts';
import { type EnterServer, serveConnect } from './connect.ts';
import { closeUnansweredAtEnd, type DetachedSockets } from './detached.ts';
import { registerProxy, toRoot } from './fastify-plugin.ts';
import type { Pipeline } from './pipeline.ts';
import type { RequestTracker } from './request-tracker.ts';
import type { TlsBridge } from './tls-bridge.ts';
import { serveUpgrades } from './upgrade.ts';

export interface ProxyServerOptions {
  readonly activeConfig: () => ActiveConfig;
  readonly tracker: RequestTracker;
  readonly pipeline: Pipeline;
  readonly sockets: DetachedSockets;
  readonly logger: Logger;
  /** Undefined without `intercept`. */
  readonly tlsBridge: TlsBridge | undefined;
  /** How the far ends of tunnels are found and connected to. */
  readonly reach: Reach;
}

export interface ProxyServer {
  readonly app: FastifyInstance;
  /** Takes a connection of another listener. */
  readonly enter: EnterServer;
}

/** The server that the agent connects to. Requests, WebSocket handshakes and CONNECT lead into one pipeline. */
export async function createProxyServer(options: ProxyServerOptions): Promise<ProxyServer> {
  const { activeConfig, tracker, pipeline, logger } = options;
  const app = fastify({
    logger: false,
    schemaController: NO_SCHEMAS,
    rewriteUrl: toRoot,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: true,
    http: { maxHeaderSize: activeConfig().config.limits.maxHeaderSizeBytes, ...KEEP_ALIVE_PROBES },
    clientErrorHandler: createClientErrorHandler(logger),
  });
  // Node would silently drop headers beyond a count, and with them parts of the request. Their total size is bounded.
  app.server.maxHeadersCount = 0;
  tracker.closeIdle = createIdleCloser(app.server);
  await registerProxy(app, tracker, pipeline);
  // Node would respond with 417 to an unknown expectation, which the backend may know.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
  closeUnansweredAtEnd(app.server);
  const enter = serveConnect(app.server, options);
  serveUpgrades(app.server, options);
  return { app, enter };
}
