import fastify, { type FastifyInstance, type FastifyReply } from 'fastify';
import { isPublicName } from '../config/plain-http.ts';
import { NO_SCHEMAS } from '../listeners/no-schemas.ts';
import type { Exposition } from '../observability/exposition.ts';
import type { Readiness } from '../observability/readiness.ts';
import { readHost } from '../routing/request-target.ts';
import type { RouteCacheReport } from '../tokens/cache.ts';
import type { DecisionReport } from './decisions.ts';
import { PAGE_ICON, PAGE_SCRIPT, PAGE_STYLE } from './page-assets.ts';
import type { StatusReport } from './status.ts';
import { statusPage } from './status-page.ts';

/** The page loads nothing from elsewhere, sends nothing, and cannot be shown in a frame. */
const PAGE_HEADERS = {
  'content-security-policy':
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; " +
    "form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** The sources of the admin listener. */
export interface AdminSources {
  readonly metrics: Exposition;
  readonly readiness: Readiness;
  readonly cacheReport: () => Record<string, RouteCacheReport>;
  readonly status: () => StatusReport;
  /** @param after number of the last decision that the reader knows */
  readonly decisions: (after: number) => DecisionReport;
  /** Public names of this listener, in lower case. */
  readonly hosts: () => readonly string[];
}

/** Health checks, which load balancers call with their own Host. They show only which parts are ready. */
const FOR_ANY_HOST = ['/livez', '/readyz'];

/**
 * Creates the admin listener: `/metrics`, `/livez`, `/readyz`, `/cache`, `/decisions`, and the status page at `/`. It has no authentication
 * and therefore shows only names and numbers: no token, digest, user or address.
 */
export function createAdminServer({
  metrics,
  readiness,
  cacheReport,
  status,
  decisions,
  hosts,
}: AdminSources): FastifyInstance {
  const app = fastify({ logger: false, schemaController: NO_SCHEMAS, forceCloseConnections: true });
  // A web page can point its own host name at our address (DNS rebinding) and then read what its browser reads.
  app.addHook('onRequest', async (request, reply) => {
    if (FOR_ANY_HOST.includes(request.routeOptions.url ?? '')) return;
    const host = readHost(request.headers.host);
    if (host === undefined || !isPublicName(host) || hosts().includes(host)) return;
    await reply.code(403).send({ error: 'the Host of the request is a public name: add it to admin_hosts' });
  });
  app.get('/livez', () => ({ live: true }));
  app.get('/readyz', (_request, reply) => {
    const report = readiness.report();
    return reply.code(report.ready ? 200 : 503).send(report);
  });
  app.get('/metrics', async (_request, reply) => {
    const text = await metrics.write();
    return reply.type(metrics.contentType).send(text);
  });
  app.get('/cache', (request, reply) => {
    // Unlike the counts in /metrics and /status.json, the ages and expiries of tokens reveal single callers. They stay in the
    // pod even if the port is open.
    if (!isLoopback(request.socket.remoteAddress))
      return reply.code(403).send({ error: '/cache is available from loopback only' });
    return reply.send({ routes: cacheReport() });
  });
  app.get('/decisions', (request, reply) => {
    // They reveal what single callers do, as /cache does.
    if (!isLoopback(request.socket.remoteAddress))
      return reply.code(403).send({ error: '/decisions is available from loopback only' });
    const { after = '0' } = request.query as { readonly after?: unknown };
    if (typeof after !== 'string' || !/^\d{1,15}$/.test(after))
      return reply.code(400).send({ error: 'after must be the number of a decision' });
    return reply.header('cache-control', 'no-store').send(decisions(Number(after)));
  });
  const page = (type: string, content: () => string) => (_request: unknown, reply: FastifyReply) =>
    reply.headers(PAGE_HEADERS).type(type).send(content());
  app.get(
    '/',
    page('text/html; charset=utf-8', () => statusPage(status())),
  );
  app.get(
    '/status.json',
    page('application/json', () => JSON.stringify(status())),
  );
  app.get(
    '/status.css',
    page('text/css; charset=utf-8', () => PAGE_STYLE),
  );
  app.get(
    '/status.js',
    page('text/javascript; charset=utf-8', () => PAGE_SCRIPT),
  );
  app.get(
    '/icon.svg',
    page('image/svg+xml', () => PAGE_ICON),
  );
  return app;
}

/** A Unix socket has no address, and only this machine can reach it. */
function isLoopback(address: string | undefined): boolean {
  if (address === undefined) return true;
  return address === '::1' || address.replace(/^::ffff:/, '').startsWith('127.');
}
