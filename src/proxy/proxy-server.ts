import fastify from 'fastify';
import { createIdleCloser } from '../listeners/idle-connection.ts';
import { KEEP_ALIVE_PROBES, NO_SCHEMAS } from '../listeners/listen.ts';
import { createClientErrorHandler } from './client-error.ts';
import { type ConnectOptions, serveConnect } from './connect.ts';
import { closeUnansweredAtEnd } from './detached.ts';
import { registerProxy, toRoot } from './fastify-plugin.ts';
import { serveUpgrades, type UpgradeOptions } from './upgrade.ts';

/**
 * The server that the agent connects to. Requests, WebSocket handshakes and CONNECT lead into one pipeline.
 * @returns the server, and a function that takes a connection of another listener
 */
export async function createProxyServer(options: ConnectOptions & UpgradeOptions) {
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
