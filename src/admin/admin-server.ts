import { setImmediate } from 'node:timers/promises';
import fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import type { AuditTrail } from '../audit/audit-trail.ts';
import { systemClock } from '../clock/clock.ts';
import type { Config } from '../config/config.ts';
import { isForeignName, isPublicName } from '../host-names.ts';
import type { InboundSide } from '../inbound/inbound.ts';
import type { ConnectionLimit } from '../listeners/limit-connections.ts';
import { NO_SCHEMAS } from '../listeners/listen.ts';
import { limitOthers } from '../listeners/open-files.ts';
import { isLocalSender } from '../listeners/this-machine.ts';
import { type ListenerCertificates, serverOptions, tlsOf } from '../listeners/tls.ts';
import type { Counts } from '../observability/counts.ts';
import type { Exposition } from '../observability/exposition.ts';
import type { LogLevelControl } from '../observability/log-level.ts';
import type { Logger } from '../observability/logger.ts';
import { createMetrics } from '../observability/metrics.ts';
import type { Readiness } from '../observability/readiness.ts';
import type { RecentDecisions } from '../proxy/recent-decisions.ts';
import { isValidHost, readHost } from '../routing/request-target.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import type { SignalsSide } from '../signals/signals.ts';
import type { WorkloadApi } from '../spiffe/workload-api.ts';
import type { TokenService } from '../tokens/token-service.ts';
import { reportDecisions, SHOWN_DECISIONS } from './decision-report.ts';
import { addLogLevel, addRevoke } from './local-requests.ts';
import type { Status } from './status-report.ts';

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

interface AdminSources {
  readonly readiness: Readiness;
  readonly tokens: Pick<TokenService, 'cacheReport'>;
  readonly status: Pick<Status, 'report' | 'charts'>;
  readonly logLevel: LogLevelControl;
  readonly decisions: RecentDecisions;
  readonly signals: Pick<SignalsSide, 'revoke'> | undefined;
}

/** Enough for the small body of `PUT /log-level`. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Health checks, which load balancers call with their own Host. They show only which parts are ready. */
const FOR_ANY_HOST = ['/livez', '/readyz'];

/**
 * Unlike the counts in `/metrics` and `/status.json`, the ages and expiries of tokens and the decisions reveal single callers. They
 * and the config stay in the pod even if the port is open.
 */
const FOR_LOOPBACK = ['/cache', '/decisions', '/config.yaml', '/config.json'];

/**
 * Creates the admin listener: `/metrics`, `/livez`, `/readyz`, `/cache`, `/decisions`, `/config.yaml`, `/log-level`, and the status
 * page at `/`. It has no authentication and therefore shows names and numbers, and for each route its match, upstream and audience.
 * It shows no token, digest, secret, user or caller's address. Other machines neither see config, cache and decisions, nor change
 * the log level. The modules of the page are loaded when it is opened, because most processes never show it.
 */
export function createAdminServer(
  { readiness, tokens, status, decisions, logLevel, signals }: AdminSources,
  metrics: Exposition,
  activeConfig: () => Config,
): FastifyInstance {
  const hosts = () => activeConfig().adminHosts;
  const effectiveConfig = () => import('./effective-config.ts');
  const app = fastify({
    logger: false,
    schemaController: NO_SCHEMAS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
    ...serverOptions(tlsOf(activeConfig().admin), {}),
  });
  // A web page can point its own host name at our address (DNS rebinding) and then read what its browser reads.
  app.addHook('onRequest', async (request, reply) => {
    const { url = '' } = request.routeOptions;
    if (FOR_ANY_HOST.includes(url)) return;
    const { host: written = '' } = request.headers;
    const host = readHost(written);
    if (written !== '' && (host === undefined || !isValidHost(written))) {
      await reply.code(403).send({ error: 'the Host of the request is not a host with an optional port' });
    } else if (host !== undefined && isPublicName(host) && !hosts().includes(host)) {
      await reply.code(403).send({ error: 'the Host of the request is a public name: add it to admin_hosts' });
    } else if (FOR_LOOPBACK.includes(url)) {
      const problem = whyNotLocal(request);
      if (problem !== undefined) await reply.code(403).send({ error: `${url} ${problem}` });
    }
  });

  /** An internal name is enough for scrapes, but a web page of the local network can have one too. */
  function whyNotLocal({ socket, headers }: FastifyRequest): string | undefined {
    if (!isLocalSender(socket.remoteAddress, app.server.address())) return 'is available from loopback only';
    const host = readHost(headers.host);
    if (host === undefined || !isForeignName(host) || hosts().includes(host)) return undefined;
    return 'is available for an address or localhost as Host only: use 127.0.0.1, or add the name to admin_hosts';
  }

  app.get('/livez', () => ({ live: true }));
  app.get('/readyz', (_request, reply) => {
    const report = readiness.report();
    return reply.code(report.ready ? 200 : 503).send(report);
  });
  app.get('/metrics', async (_request, reply) => {
    const text = await metrics.write();
    return reply.type(metrics.contentType).send(text);
  });
  app.get('/cache', () => ({ routes: tokens.cacheReport() }));
  app.get('/decisions', (request, reply) => {
    const { after = '0' } = request.query as { readonly after?: unknown };
    if (typeof after !== 'string' || !/^\d{1,15}$/.test(after))
      return reply.code(400).send({ error: 'after must be the number of a decision' });
    return reply.header('cache-control', 'no-store').send(reportDecisions(decisions, Number(after), systemClock));
  });
  addLogLevel(app, logLevel, hosts);
  if (signals?.revoke !== undefined) addRevoke(app, signals.revoke, hosts);
  app.get('/', async (request, reply) => {
    const local =
      whyNotLocal(request) === undefined
        ? {
            config: await (await effectiveConfig()).shortYaml(activeConfig()),
            decisions: reportDecisions(decisions, 0, systemClock, SHOWN_DECISIONS).decisions,
          }
        : undefined;
    const report = status.report();
    // With a thousand routes, each half takes as long as many requests, which run in between.
    await setImmediate();
    const { statusPage } = await import('./status-page.ts');
    const content = { report, charts: status.charts(), logLevel, local };
    return reply.headers(PAGE_HEADERS).type('text/html; charset=utf-8').send(statusPage(content));
  });
  for (const [path, type, content] of [
    ['/config.yaml', 'text/plain; charset=utf-8', async () => (await effectiveConfig()).configYaml(activeConfig())],
    ['/config.json', 'application/json', async () => (await effectiveConfig()).configJson(activeConfig())],
    ['/status.json', 'application/json', () => JSON.stringify(status.report())],
    ['/status.css', 'text/css; charset=utf-8', async () => (await import('./page-assets.ts')).PAGE_STYLE],
    ['/status.js', 'text/javascript; charset=utf-8', async () => (await import('./page-assets.ts')).PAGE_SCRIPT],
    ['/icon.svg', 'image/svg+xml', async () => (await import('./page-assets.ts')).PAGE_ICON],
  ] as const) {
    app.get(path, async (_request, reply) =>
      reply
        .headers(PAGE_HEADERS)
        .type(type)
        .send(await content()),
    );
  }
  return app;
}

interface AdminParts extends AdminSources {
  readonly counts: Counts;
  readonly tokens: Pick<TokenService, 'cacheSize' | 'cacheReport'>;
  readonly logger: Logger;
  readonly audit: AuditTrail | undefined;
  readonly inbound: Pick<InboundSide, 'connections' | 'families'> | undefined;
  readonly sharedCache: Pick<SharedCacheSide, 'families'> | undefined;
  readonly signals: Pick<SignalsSide, 'connections' | 'families' | 'revoke'> | undefined;
  readonly spiffe: Pick<WorkloadApi, 'status'> | undefined;
  readonly certificates: Pick<ListenerCertificates, 'refusals'>;
}

/** Scrapes, probes and people share these. A probe must pass while others hold connections: a failed one restarts the container. */
const MAX_ADMIN_CONNECTIONS = 256;

export function createAdminListener(
  parts: AdminParts,
  activeConfig: () => Config,
  version: string,
  proxyConnections: ConnectionLimit,
): FastifyInstance {
  const { inbound, signals, logger } = parts;
  const metrics = createMetrics(version, {
    counts: parts.counts,
    cacheEntries: parts.tokens.cacheSize,
    cacheMaxEntries: () => activeConfig().cache.maxEntries,
    readiness: parts.readiness.report,
    logLinesLost: logger.linesLost,
    audit: () => parts.audit?.counts(),
    spiffe: parts.spiffe?.status,
    activeConfig,
    connections: {
      listen: () => proxyConnections.counts,
      admin: () => connections.counts,
      ...(inbound !== undefined && { inbound: inbound.connections }),
      ...(signals?.connections !== undefined && { signals: signals.connections }),
    },
    tlsRefusals: parts.certificates.refusals,
    more: [...(inbound?.families ?? []), ...(signals?.families ?? []), ...(parts.sharedCache?.families ?? [])],
  });
  const server = createAdminServer(parts, metrics, activeConfig);
  const connections = limitOthers(server.server, 'admin', MAX_ADMIN_CONNECTIONS, logger);
  return server;
}
