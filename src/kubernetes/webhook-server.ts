import type { Server } from 'node:https';
import fastify, { type FastifyError, type FastifyInstance, type RawServerDefault } from 'fastify';
import { NO_SCHEMAS } from '../listeners/no-schemas.ts';
import type { Logger } from '../observability/logger.ts';
import { NotAReview, type Reviewed } from './admission.ts';
import type { Json } from './json.ts';
import type { ServerCertificate } from './webhook-certificate.ts';
import type { WebhookMetrics } from './webhook-metrics.ts';

/** The API server's own limit for an object, doubled for the old one beside it. */
const MAX_BODY_BYTES = 3 * 1024 * 1024;

/** The API server waits no longer than the configuration's `timeoutSeconds`. */
const REQUEST_TIMEOUT_MS = 5_000;

/** How often connections are held against that. */
const CHECK_INTERVAL_MS = 500;

/** Longer than the API server keeps an idle connection, so that it is never the one to be surprised. */
const KEEP_ALIVE_MS = 100_000;

const TLS_VERSION = 'TLSv1.2';

export type WebhookServer = FastifyInstance<Server>;

export interface WebhookParts {
  readonly certificate: ServerCertificate;
  /** @throws {NotAReview} */
  readonly review: (body: Json) => Reviewed;
  readonly metrics: WebhookMetrics;
  readonly logger: Logger;
}

/** The HTTPS server that the API server calls: `POST /mutate`. */
export function createWebhookServer({ certificate, review, metrics, logger }: WebhookParts): WebhookServer {
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
    forceCloseConnections: 'idle',
  });
  // JSON is all that it takes.
  app.removeContentTypeParser('text/plain');
  app.post('/mutate', (request, reply) => {
    const startMs = performance.now();
    const { answer, result, ...about } = review(request.body as Json);
    const durationMs = performance.now() - startMs;
    metrics.reviewed(result, durationMs);
    logger[result === 'refused' ? 'warn' : 'info'](
      { ...about, result, duration_ms: Math.round(durationMs * 10) / 10 },
      'review',
    );
    return reply.send(answer);
  });
  app.setErrorHandler((error: FastifyError, _request, reply) => {
    const status = error instanceof NotAReview ? 400 : (error.statusCode ?? 500);
    metrics.reviewed('invalid', reply.elapsedTime);
    if (status >= 500) logger.error({ err: error }, 'a fault of the webhook itself');
    else logger.warn({ status, error: error.code }, `no review: ${error.message}`);
    const message = status >= 500 ? 'a fault of the webhook itself: its log has more' : error.message;
    return reply.code(status).send({ message });
  });
  return app;
}

/** From the next connection on; those that are open keep what they began with. */
export function renewCertificate(app: WebhookServer, { cert, key }: ServerCertificate): void {
  app.server.setSecureContext({ cert, key, minVersion: TLS_VERSION });
}

/** The second listener, for the kubelet and Prometheus: `/livez`, `/readyz`, `/metrics`, without TLS. */
export function createWebhookAdmin(metrics: WebhookMetrics, isReady: () => boolean): FastifyInstance<RawServerDefault> {
  const app = fastify({ logger: false, schemaController: NO_SCHEMAS, forceCloseConnections: true });
  app.get('/livez', () => ({ live: true }));
  app.get('/readyz', (_request, reply) => reply.code(isReady() ? 200 : 503).send({ ready: isReady() }));
  app.get('/metrics', async (_request, reply) => {
    const text = await metrics.registry.metrics();
    return reply.type(metrics.registry.contentType).send(text);
  });
  return app;
}
