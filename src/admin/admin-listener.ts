import type { FastifyInstance } from 'fastify';
import type { AuditTrail } from '../audit/audit-trail.ts';
import { systemClock } from '../clock/clock.ts';
import type { Config } from '../config/config.ts';
import type { InboundSide } from '../inbound/inbound.ts';
import { type ConnectionLimit, displaceConnections } from '../listeners/limit-connections.ts';
import { logAcceptErrors, withinOpenFiles } from '../listeners/open-files.ts';
import type { Counts } from '../observability/counts.ts';
import type { LogLevelControl } from '../observability/log-level.ts';
import type { Logger } from '../observability/logger.ts';
import { createMetrics } from '../observability/metrics.ts';
import type { Readiness } from '../observability/readiness.ts';
import type { RecentDecisions } from '../proxy/recent-decisions.ts';
import type { SharedCacheSide } from '../shared-cache/shared-cache.ts';
import type { SignalsSide } from '../signals/signals.ts';
import type { TokenService } from '../tokens/token-service.ts';
import { reportDecisions } from './decisions.ts';
import type { EffectiveConfig } from './effective-config.ts';
import { createAdminServer } from './server.ts';
import type { Status } from './status.ts';

/** The parts of the app that the admin listener shows. */
interface AdminParts {
  readonly counts: Counts;
  readonly readiness: Readiness;
  readonly tokens: Pick<TokenService, 'cacheSize' | 'cacheReport'>;
  readonly status: Status;
  readonly logLevel: LogLevelControl;
  readonly logger: Logger;
  readonly audit: AuditTrail | undefined;
  readonly decisions: RecentDecisions;
  readonly inbound: Pick<InboundSide, 'connections' | 'families'> | undefined;
  readonly sharedCache: Pick<SharedCacheSide, 'families'> | undefined;
  readonly signals: Pick<SignalsSide, 'connections' | 'families'> | undefined;
}

/** For scrapes, probes and people. Probes must pass while others hold connections: a failed one restarts the container. */
const MAX_ADMIN_CONNECTIONS = 256;

/** Creates the admin listener with its metrics. */
export function createAdminListener(
  { counts, readiness, tokens, status, logLevel, logger, audit, inbound, signals, decisions, sharedCache }: AdminParts,
  activeConfig: () => Config,
  version: string,
  proxyConnections: ConnectionLimit,
): FastifyInstance {
  const metrics = createMetrics(version, {
    counts,
    cacheEntries: tokens.cacheSize,
    cacheMaxEntries: () => activeConfig().cache.maxEntries,
    readiness: readiness.report,
    logLinesLost: logger.linesLost,
    audit: () => audit?.counts(),
    limits: () => activeConfig().limits,
    connections: {
      listen: () => proxyConnections.counts,
      admin: () => connections.counts,
      ...(inbound !== undefined && { inbound: inbound.connections }),
      ...(signals?.connections !== undefined && { signals: signals.connections }),
    },
    more: [...(inbound?.families ?? []), ...(signals?.families ?? []), ...(sharedCache?.families ?? [])],
  });
  const server = createAdminServer({
    metrics,
    readiness,
    cacheReport: tokens.cacheReport,
    status,
    decisions: (after, most) => reportDecisions(decisions, after, systemClock, most),
    config: effectiveConfig(activeConfig),
    logLevel,
    hosts: () => activeConfig().adminHosts,
  });
  const connections = displaceConnections(server.server, withinOpenFiles(MAX_ADMIN_CONNECTIONS), (count) => {
    logger.warn({}, `too many connections to the admin listener; dropped ${count}`);
  });
  logAcceptErrors(server.server, 'admin', logger);
  return server;
}

/** Loaded when it is shown. */
function effectiveConfig(active: () => Config): EffectiveConfig {
  let loading: Promise<EffectiveConfig> | undefined;
  const loaded = (): Promise<EffectiveConfig> => {
    loading ??= import('./effective-config.ts').then(({ createEffectiveConfig }) => createEffectiveConfig(active));
    return loading;
  };
  return {
    yaml: async () => (await loaded()).yaml(),
    json: async () => (await loaded()).json(),
    short: async () => (await loaded()).short(),
  };
}
