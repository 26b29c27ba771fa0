import { type IncomingMessage, METHODS as NODE_METHODS, type ServerResponse } from 'node:http';
import httpProxy from '@fastify/http-proxy';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Listen } from '../config/addresses.ts';
import { CambistError } from '../errors.ts';
import { createIdleCloser } from '../listeners/idle-connection.ts';
import { KEEP_ALIVE_PROBES, NO_SCHEMAS } from '../listeners/listen.ts';
import { serverOptions, tlsOf } from '../listeners/tls.ts';
import { createClientErrorHandler } from './client-error.ts';
import { type ConnectOptions, serveConnect } from './connect.ts';
import { closeUnansweredAtEnd } from './detached.ts';
import { failRequest } from './fail-request.ts';
import type { Pipeline } from './pipeline.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RequestTracker } from './request-tracker.ts';
import { serveUpgrades, type UpgradeOptions } from './upgrade.ts';

/**
 * The server that the agent connects to. Requests, WebSocket handshakes and CONNECT lead into one pipeline.
 * @returns the server, and a function that takes a connection of another listener
 */
export async function createProxyServer(listen: Listen, options: ConnectOptions & UpgradeOptions) {
  const { tracker, pipeline } = options;
  const app = createApp(listen, options);
  tracker.idleClosers.push(createIdleCloser(app.server));
  await registerProxy(app, tracker, pipeline);
  // Node would respond with 417 to an unknown expectation, which the backend may know.
  app.server.on('checkExpectation', (request, response) => app.server.emit('request', request, response));
  closeUnansweredAtEnd(app.server);
  const enter = serveConnect(app.server, options);
  serveUpgrades(app.server, options);
  return { app, enter };
}

type AppOptions = Pick<ConnectOptions, 'activeConfig' | 'logger'>;

/** A server that hands over every request with its body unread. */
export function createHttpServer(
  listen: Listen,
  options: AppOptions,
  take: (incoming: IncomingMessage, response: ServerResponse, url: string) => void,
): FastifyInstance {
  const app = createApp(listen, options);
  for (const method of PLUGIN_METHODS) app.addHttpMethod(method, { hasBody: false, overrideExisting: true });
  app.setNotFoundHandler((request, reply) => {
    reply.hijack();
    take(request.raw, reply.raw, request.originalUrl);
  });
  return app;
}

function createApp(listen: Listen, { activeConfig, logger }: AppOptions): FastifyInstance {
  const app = fastify({
    logger: false,
    schemaController: NO_SCHEMAS,
    rewriteUrl: toRoot,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: true,
    ...serverOptions(tlsOf(listen), {
      maxHeaderSize: activeConfig().config.limits.maxHeaderSizeBytes,
      ...KEEP_ALIVE_PROBES,
    }),
    clientErrorHandler: createClientErrorHandler(logger),
  });
  // Node would silently drop headers beyond a count, and with them parts of the request. Their total size is bounded.
  app.server.maxHeadersCount = 0;
  return app;
}

/** The methods that MCP, REST and browsers use. Each route of the plugin costs start time, so it gets no others. */
const PLUGIN_METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'].filter((method) =>
  // QUERY is unknown to older versions of Node.
  NODE_METHODS.includes(method),
);

/** Fastify calls it as `rewriteUrl`: its router sees one URL for all requests, because routing belongs to the route table. */
function toRoot(): string {
  return '/';
}

/**
 * Registers the proxy on a Fastify instance whose `rewriteUrl` is `toRoot`. @fastify/http-proxy declares the routes and leaves
 * payloads unparsed. Its `preHandler` hands each request to the pipeline; src/README.md says why its own forwarder is not used.
 */
async function registerProxy(app: FastifyInstance, tracker: RequestTracker, pipeline: Pipeline): Promise<void> {
  // Bodies are forwarded as bytes. Fastify parses none of them, whatever their type.
  for (const method of PLUGIN_METHODS) app.addHttpMethod(method, { hasBody: false, overrideExisting: true });

  function begin(request: FastifyRequest, reply: FastifyReply): ProxyRequest {
    reply.hijack();
    return tracker.begin(request.raw, reply.raw, request.originalUrl);
  }

  // Gets every other method that Node parses, except CONNECT.
  app.setNotFoundHandler((request, reply) => {
    const received = begin(request, reply);
    if (request.method === 'TRACE') failRequest(received, traceNotTaken());
    else void pipeline(received);
  });
  await app.register(httpProxy, {
    upstream: '',
    httpMethods: PLUGIN_METHODS,
    preHandler(request: FastifyRequest, reply: FastifyReply): void {
      // The plugin's own handler never runs, because `done` is not called.
      void pipeline(begin(request, reply));
    },
    // Fails closed: the plugin's forwarder has no upstream. With `http` it creates no client of undici.
    http: {},
    replyOptions: {
      getUpstream(): never {
        throw new CambistError('ERR_INTERNAL', 'a request bypassed the pipeline');
      },
    },
  });
}

/** The response to TRACE repeats the request, and with it the issued token (RFC 9110 section 9.3.8). */
export function traceNotTaken(): CambistError {
  return new CambistError('ERR_ROUTE_NOT_FOUND', 'no route takes TRACE, whose response would contain the issued token');
}
