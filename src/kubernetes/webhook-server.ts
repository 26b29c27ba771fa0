import type { IncomingHttpHeaders, IncomingMessage, Server } from 'node:http';
import type { Server as SecureServer } from 'node:https';
import type { Socket } from 'node:net';
import fastify, { type FastifyError, type FastifyInstance, type RawServerDefault } from 'fastify';
import { NO_SCHEMAS } from '../listeners/listen.ts';
import { limitOthers } from '../listeners/open-files.ts';
import type { Logger } from '../observability/logger.ts';
import { InvalidReview, type ReviewResult } from './admission.ts';
import type { Json } from './json.ts';
import type { ServerCertificate } from './webhook-certificate.ts';
import type { WebhookMetrics } from './webhook-metrics.ts';

/** More than the API servers of a cluster open at once. About 60 KiB each. */
const MAX_CONNECTIONS = 512;
/** Scrapes and probes need few. */
const MAX_ADMIN_CONNECTIONS = 256;
/** Bodies that are read at a time: 8 of the largest, or hundreds of the usual ones. */
const MAX_BYTES_READ = 24 * 1024 * 1024;

/**
 * Bounds the memory of the webhook. Any pod can connect, because the API server is not authenticated, so a new client takes the
 * place of the oldest one.
 */
function limitWebhook(server: Server, maxBodyBytes: number, logger: Logger): void {
  limitOthers(server, 'the webhook', MAX_CONNECTIONS, logger);
  /** The bytes that are read for each request at most, the oldest first. */
  const reading = new Map<IncomingMessage, number>();
  let total = 0;

  function forget(request: IncomingMessage): void {
    total -= reading.get(request) ?? 0;
    reading.delete(request);
  }

  server.on('request', (request, response) => {
    const bytes = largestBody(request.headers, maxBodyBytes);
    reading.set(request, bytes);
    total += bytes;
    response.once('close', () => forget(request));
    for (const [oldest] of reading) {
      if (total <= MAX_BYTES_READ) break;
      forget(oldest);
      oldest.destroy();
    }
  });
}

/**
 * Keeps connections that have sent nothing. The API server opens some that it uses later, and a request that met the timeout would
 * refuse a pod. Node takes an expired connection out of its list, so the next request on it has the whole time again.
 */
function keepSilent(server: Server): void {
  const respond = server.listeners('clientError') as ((error: NodeJS.ErrnoException, socket: Socket) => void)[];
  server.removeAllListeners('clientError').on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && socket.bytesRead === 0) socket.setTimeout(KEEP_ALIVE_MS);
    else for (const listener of respond) listener(error, socket);
  });
}

function largestBody(
  { 'content-length': length, 'transfer-encoding': coding }: IncomingHttpHeaders,
  max: number,
): number {
  return Math.min(Number(length ?? (coding === undefined ? 0 : max)), max);
}

/** The API server's limit for an object, doubled because a review can contain the old object too. */
const MAX_BODY_BYTES = 3 * 1024 * 1024;

/** The `timeoutSeconds` of the webhook configuration: the API server waits no longer. */
const REQUEST_TIMEOUT_MS = 5_000;

/** Interval for closing connections that exceed the timeout. */
const CHECK_INTERVAL_MS = 500;

/** Longer than the API server keeps an idle connection, so that the API server closes it first. */
const KEEP_ALIVE_MS = 100_000;

const TLS_VERSION = 'TLSv1.2';

type WebhookServer = FastifyInstance<SecureServer>;

interface WebhookParts {
  readonly certificate: ServerCertificate;
  /** @throws {InvalidReview} */
  readonly review: (body: Json) => ReviewResult;
  readonly metrics: WebhookMetrics;
  readonly logger: Logger;
  /** False while it shuts down. */
  readonly isReady: () => boolean;
}

/** The HTTPS server that the API server calls: `POST /mutate`. */
export function createWebhookServer({ certificate, review, metrics, logger, isReady }: WebhookParts): WebhookServer {
  const { cert, key } = certificate;
  const app = fastify({
    logger: false,
    schemaController: NO_SCHEMAS,
    https: {
      cert,
      key,
      minVersion: TLS_VERSION,
      handshakeTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_INTERVAL_MS,
    },
    bodyLimit: MAX_BODY_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_MS,
    // A request on a connection that has been silent until now gets its response. Fastify's 503 would refuse a pod.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
  });
  limitWebhook(app.server, MAX_BODY_BYTES, logger);
  keepSilent(app.server);
  // The API server must not lose a review on a connection that closes a moment later.
  app.addHook('onSend', async (_request, reply) => {
    if (!isReady()) reply.header('connection', 'close');
  });
  // Only JSON is accepted.
  app.removeContentTypeParser('text/plain');
  app.post('/mutate', (request, reply) => {
    const startMs = performance.now();
    const { review: response, outcome: result, ...about } = review(request.body as Json);
    const durationMs = performance.now() - startMs;
    metrics.reviewed(result, durationMs);
    logger[result === 'refused' ? 'warn' : 'info'](
      { ...about, result, duration_ms: Math.round(durationMs * 10) / 10 },
      'admission review',
    );
    return reply.send(response);
  });
  app.setErrorHandler((error: FastifyError, _request, reply) => {
    const status = error instanceof InvalidReview ? 400 : (error.statusCode ?? 500);
    metrics.reviewed('invalid', reply.elapsedTime);
    if (status >= 500) logger.error({ err: error }, 'unexpected error');
    else logger.warn({ status, error: error.code }, `invalid review: ${error.message}`);
    const message = status >= 500 ? 'unexpected error: see the log of the webhook' : error.message;
    return reply.code(status).send({ message });
  });
  return app;
}

/** Serves a new certificate to new connections. Open connections keep theirs. */
export function renewCertificate(app: WebhookServer, { cert, key }: ServerCertificate): void {
  app.server.setSecureContext({ cert, key, minVersion: TLS_VERSION });
}

/** The second listener, for the kubelet and Prometheus: `/livez`, `/readyz`, `/metrics`, without TLS. */
export function createWebhookAdmin(
  metrics: WebhookMetrics,
  isReady: () => boolean,
  logger: Logger,
): FastifyInstance<RawServerDefault> {
  const app = fastify({ logger: false, schemaController: NO_SCHEMAS, forceCloseConnections: true });
  // Probes must pass while others hold connections: a failed one restarts the container.
  limitOthers(app.server, 'the admin listener', MAX_ADMIN_CONNECTIONS, logger);
  app.get('/livez', () => ({ live: true }));
  app.get('/readyz', (_request, reply) => reply.code(isReady() ? 200 : 503).send({ ready: isReady() }));
  app.get('/metrics', async (_request, reply) => {
    const { contentType, write } = metrics.exposition;
    return reply.type(contentType).send(await write());
  });
  return app;
}
