import fastify, { type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import type { Readiness } from './readiness.ts';

/**
 * The second listener: `/metrics`, `/livez`, `/readyz`. It has no authentication, so nothing on it is worth having: names
 * and figures, no token, digest, user or address.
 */
export function createAdminServer(registry: Registry, readiness: Readiness): FastifyInstance {
  const app = fastify({ logger: false, forceCloseConnections: true });
  app.get('/livez', () => ({ live: true }));
  app.get('/readyz', (_request, reply) => {
    const report = readiness.report();
    return reply.code(report.ready ? 200 : 503).send(report);
  });
  app.get('/metrics', async (_request, reply) => {
    const text = await registry.metrics();
    return reply.type(registry.contentType).send(text);
  });
  return app;
}
