import { METHODS as NODE_METHODS } from 'node:http';
import httpProxy from '@fastify/http-proxy';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import { CambistError } from '../errors.ts';
import type { Pipeline } from './pipeline.ts';
import type { RequestTracker } from './request-tracker.ts';

/** The plugin asks for an upstream of its own. Every request brings its own from the route table, so this is never dialled. */
const NO_UPSTREAM = 'http://upstream.invalid';

/** Nor is this ever asked; without it the plugin would make an agent, and that would not verify TLS. */
const NO_TRANSPORT = {
  request(): never {
    throw new CambistError('ERR_INTERNAL', 'a request was not led in');
  },
};

/** What MCP and its surroundings use, and then some; a method beside these has no route. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'QUERY'].filter((method) =>
  // Not every Node that we run on knows all of them.
  NODE_METHODS.includes(method),
);

/** For Fastify's `rewriteUrl`: to its router all URLs are one, since routing is the route table's. */
export function toRoot(): string {
  return '/';
}

/**
 * Puts the proxy on a Fastify instance whose `rewriteUrl` is `toRoot`. @fastify/http-proxy declares the routes and leaves
 * payloads alone; its `preHandler` is where a request becomes ours. What it does after that, for upstreams that are fixed,
 * costs more than the whole admission: `test/bench/lessons.md` has the figures.
 */
export async function registerProxy(app: FastifyInstance, tracker: RequestTracker, pipeline: Pipeline): Promise<void> {
  // No body is ever parsed, whatever type it says it is: it goes on as bytes.
  for (const method of METHODS) app.addHttpMethod(method, { hasBody: false, overrideExisting: true });

  // A method that the router does not know.
  app.setNotFoundHandler((request, reply) => {
    const unknown = tracker.begin(request.raw, reply.raw, request.originalUrl);
    reply.hijack();
    unknown.fail(new CambistError('ERR_ROUTE_NOT_FOUND', 'no route takes a request of this method'));
  });
  await app.register(httpProxy, {
    upstream: NO_UPSTREAM,
    undici: NO_TRANSPORT as never,
    httpMethods: METHODS as never,
    preHandler(request: FastifyRequest, reply: FastifyReply): void {
      // No callback is called: the reply goes no further.
      reply.hijack();
      void pipeline(tracker.begin(request.raw, reply.raw, request.originalUrl));
    },
  });
}
