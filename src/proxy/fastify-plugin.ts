import { METHODS as NODE_METHODS } from 'node:http';
import httpProxy from '@fastify/http-proxy';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { CambistError } from '../errors.ts';
import type { Pipeline } from './pipeline.ts';
import type { RequestTracker } from './request-tracker.ts';

/** The methods that MCP, REST and browsers use. A request with another method has no route. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'].filter((method) =>
  // QUERY is unknown to older versions of Node.
  NODE_METHODS.includes(method),
);

/** For Fastify's `rewriteUrl`: its router sees one URL for all requests, because routing belongs to the route table. */
export function toRoot(): string {
  return '/';
}

/**
 * Registers the proxy on a Fastify instance whose `rewriteUrl` is `toRoot`. @fastify/http-proxy declares the routes and leaves
 * payloads unparsed. Its `preHandler` hands each request to the pipeline; src/README.md says why its own forwarder is not used.
 */
export async function registerProxy(app: FastifyInstance, tracker: RequestTracker, pipeline: Pipeline): Promise<void> {
  // Bodies are forwarded as bytes. Fastify parses none of them, whatever their type.
  for (const method of METHODS) app.addHttpMethod(method, { hasBody: false, overrideExisting: true });

  // Methods unknown to the router.
  app.setNotFoundHandler((request, reply) => {
    const unknown = tracker.begin(request.raw, reply.raw, request.originalUrl);
    reply.hijack();
    unknown.fail(new CambistError('ERR_ROUTE_NOT_FOUND', 'no route takes a request with this method'));
  });
  await app.register(httpProxy, {
    upstream: '',
    httpMethods: METHODS,
    preHandler(request: FastifyRequest, reply: FastifyReply): void {
      // The plugin's own handler never runs, because `done` is not called.
      reply.hijack();
      void pipeline(tracker.begin(request.raw, reply.raw, request.originalUrl));
    },
    // Fails closed: the plugin's forwarder has no upstream.
    replyOptions: {
      getUpstream(): never {
        throw new CambistError('ERR_INTERNAL', 'a request bypassed the pipeline');
      },
    },
  });
}
