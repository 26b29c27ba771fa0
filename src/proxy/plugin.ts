import { METHODS as NODE_METHODS } from 'node:http';
import httpProxy from '@fastify/http-proxy';
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';
import type { Dispatchers } from '../dispatchers.ts';
import { CambistError } from '../errors.ts';
import { dispatch } from './dispatcher.ts';
import { createEntrance, type EntranceOptions } from './entrance.ts';
import type { ProxyObserver } from './observer.ts';
import type { Passage } from './passage.ts';
import type { Relay } from './relay.ts';

declare module 'fastify' {
  interface FastifyRequest {
    passage: Passage | null;
  }
}

export interface ProxyOptions extends EntranceOptions {
  readonly dispatchers: Dispatchers;
  readonly observer: ProxyObserver;
}

/** The plugin asks for an upstream of its own. Every request brings its own from the route table, so this is never dialled. */
const NO_UPSTREAM = 'http://upstream.invalid';

/** How a passage travels through the plugin, whose transport is shown headers and no request. */
const PASSAGE = Symbol('passage');
interface CarryingHeaders {
  readonly [PASSAGE]: Passage;
}

type TransportAnswer = { statusCode: number; headers: Record<string, never>; body: Relay };
type TransportCallback = (error: Error | null, answer?: TransportAnswer) => void;

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
 * Puts the proxy on a Fastify instance whose `rewriteUrl` is `toRoot`. @fastify/http-proxy leads a request through Fastify
 * and hands it to a transport; admission, the transport and relaying are ours.
 */
export async function registerProxy(app: FastifyInstance, options: ProxyOptions): Promise<void> {
  const { observer, traffic } = options;
  const enter = createEntrance(options);

  // No body is ever parsed, whatever type it says it is: it goes on as bytes.
  for (const method of METHODS) app.addHttpMethod(method, { hasBody: false, overrideExisting: true });

  const transport = {
    request({ headers }: { headers: CarryingHeaders }, callback: TransportCallback): void {
      const passage = headers[PASSAGE];
      const { leg, route } = passage;
      if (leg === undefined || route === undefined)
        throw new CambistError('ERR_INTERNAL', 'a request was not admitted');
      const answered = (error: Error | null, relay?: Relay): void => {
        if (relay === undefined) callback(error);
        // The relay writes the real status; the plugin takes none past 599.
        else callback(null, { statusCode: 200, headers: {}, body: relay });
      };
      const onRetry = (): void => observer.upstreamRetried(route);
      dispatch({ passage, leg, route, dispatchers: options.dispatchers, onRetry, answered }).catch(answered);
    },
  };

  const replyOptions = {
    rewriteRequestHeaders: (request: FastifyRequest): CarryingHeaders => ({ [PASSAGE]: passageOf(request) }),
    onResponse: (request: FastifyRequest, reply: FastifyReply, answer: { stream: Relay }): void => {
      reply.hijack();
      traffic.relay(passageOf(request), answer.stream);
    },
    onError: (reply: FastifyReply, { error }: { error: Error }): void => {
      reply.hijack();
      traffic.problem(passageOf(reply.request), error);
    },
  };

  // A method that the router does not know.
  app.setNotFoundHandler((request, reply) => {
    const passage = traffic.begin(request.raw, reply.raw, request.originalUrl);
    reply.hijack();
    traffic.problem(passage, new CambistError('ERR_ROUTE_NOT_FOUND', 'no route takes a request of this method'));
  });
  app.decorateRequest('passage', null);
  await app.register(httpProxy, {
    upstream: NO_UPSTREAM,
    undici: transport as never,
    // The plugin would send a GET again, ten times, after a 503.
    retryMethods: [],
    disableRequestLogging: true,
    httpMethods: METHODS as never,
    handler: (request: FastifyRequest, reply: FastifyReply) => {
      const passage = traffic.begin(request.raw, reply.raw, request.originalUrl);
      request.passage = passage;
      enter(passage).then(
        (admitted) => {
          if (!admitted) reply.hijack();
          else if (!passage.gone) reply.from('/', replyOptions as never);
        },
        (error: unknown) => {
          reply.hijack();
          traffic.problem(passage, error);
        },
      );
    },
  } as never);
}

function passageOf(request: FastifyRequest): Passage {
  if (request.passage === null) throw new CambistError('ERR_INTERNAL', 'a request has no passage');
  return request.passage;
}
