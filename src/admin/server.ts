import fastify, { type FastifyInstance } from 'fastify';
import type { Registry } from 'prom-client';
import type { RouteCacheReport } from '../tokens/cache.ts';
import type { Readiness } from './readiness.ts';

/** What the admin listener shows. */
export interface AdminSources {
  readonly registry: Registry;
  readonly readiness: Readiness;
  readonly cacheReport: () => Record<string, RouteCacheReport>;
}

/**
 * The second listener: `/metrics`, `/livez`, `/readyz`, `/cache`. It has no authentication, so nothing on it is worth having:
 * names and figures, no token, digest, user or address.
 */
export function createAdminServer({ registry, readiness, cacheReport }: AdminSources): FastifyInstance {
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
  app.get('/cache', (request, reply) => {
    // How much which backend is used is nobody's business outside the pod, even where the port is open to it.
    if (!isLoopback(request.socket.remoteAddress)) return reply.code(403).send({ error: 'from loopback only' });
    return reply.send({ routes: cacheReport() });
  });
  return app;
}

/** A unix socket has no address, and only this machine can reach it. */
function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return true;
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.');
}
