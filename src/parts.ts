import { createStatus, type Status } from './admin/status-report.ts';
import type { AuditTrail } from './audit/audit-trail.ts';
import { systemClock } from './clock/clock.ts';
import type { Audit } from './config/audit.ts';
import type { Config } from './config/config.ts';
import { verifications } from './config/used-servers.ts';
import type { InboundSide } from './inbound/inbound.ts';
import type { Interception } from './intercept/interception.ts';
import { createListenerCertificates, type ListenerCertificates } from './listeners/tls.ts';
import { type Counts, createCounts } from './observability/counts.ts';
import { createLogLevelControl, type LogLevelControl } from './observability/log-level.ts';
import type { Logger } from './observability/logger.ts';
import { createReadiness, type Readiness } from './observability/readiness.ts';
import { createRecentTraffic, type RecentTraffic } from './observability/recent-traffic.ts';
import { createTokenLog } from './observability/token-log.ts';
import type { TokenObserver } from './observability/token-observer.ts';
import type { Tracing } from './observability/tracing.ts';
import type { ActiveConfig } from './proxy/active-config.ts';
import { createDetachedSockets, type DetachedSockets } from './proxy/detached.ts';
import { settledWithin } from './proxy/drain.ts';
import { createOpenRequests } from './proxy/open-requests.ts';
import { RecentDecisions } from './proxy/recent-decisions.ts';
import { RequestTracker } from './proxy/request-tracker.ts';
import { createStallWatch } from './proxy/stall-watch.ts';
import type { SharedCacheSide } from './shared-cache/shared-cache.ts';
import type { SignalsSide } from './signals/signals.ts';
import type { WorkloadApi } from './spiffe/workload-api.ts';
import { createTokenService, type TokenService } from './tokens/token-service.ts';
import { createDispatchers, type Dispatchers } from './transport/dispatchers.ts';

/** Loaded at the first failure. */
const diagnoses = () => import('./doctor/diagnoses.ts');

/** Longest time that the start waits for the first SVID. */
const FIRST_SVID_MS = 5000;

/** The parts of a running app that outlive a reload. */
export interface Parts {
  readonly first: Config;
  readonly logger: Logger;
  readonly counts: Counts;
  readonly dispatchers: Dispatchers;
  readonly certificates: ListenerCertificates;
  readonly tokens: TokenService;
  readonly readiness: Readiness;
  readonly traffic: RecentTraffic;
  readonly status: Status;
  readonly logLevel: LogLevelControl;
  readonly tracker: RequestTracker;
  readonly sockets: DetachedSockets;
  readonly interception: Interception | undefined;
  readonly audit: AuditTrail | undefined;
  readonly inbound: InboundSide | undefined;
  readonly sharedCache: SharedCacheSide | undefined;
  readonly signals: SignalsSide | undefined;
  readonly spiffe: WorkloadApi | undefined;
  readonly decisions: RecentDecisions;
  readonly diagnoses: typeof diagnoses;
}

interface PartOptions {
  readonly activeConfig: () => ActiveConfig;
  readonly version: string;
  readonly logger: Logger;
  /** Makes the spans, if tracing is on. */
  readonly tracing: Tracing | undefined;
}

type TokenSide = Pick<Parts, 'tokens' | 'sharedCache' | 'signals'>;

/** Creates the parts. The modules of an optional section load only if the config has it. */
export async function createParts(first: Config, options: PartOptions): Promise<Parts> {
  const { version, logger, activeConfig } = options;
  const clock = systemClock;
  const { intercept } = first;
  const interception =
    intercept && (await (await import('./intercept/interception.ts')).startInterception(intercept, first, logger));
  const spiffe = first.spiffe && (await startSpiffe(first.spiffe.socket, logger));
  const audit = first.audit && (await startAudit(first.audit, version, logger));
  const counts = createCounts(clock.wallMs);
  const observer = withAudit(createTokenLog(logger, counts.tokens), audit);
  const dispatchers = createDispatchers(observer.credentialRead, interception?.reach, spiffe);
  const certificates = createListenerCertificates(logger, spiffe);
  spiffe?.changed(() => {
    dispatchers.rereadTls();
    void certificates.reread();
  });
  const side = await createTokenSide(first, {
    logger,
    activeConfig,
    counts,
    observer,
    dispatchers,
    certificates,
    audit,
  });
  const { tokens, sharedCache, signals } = side;
  const revocations = signals?.revocations;
  const watch = createStallWatch(clock);
  const decisions = new RecentDecisions();
  const observers = {
    observer: counts.proxy,
    logger,
    tracing: options.tracing,
    audit,
    decisions,
    openRequests: revocations && createOpenRequests(revocations),
  };
  const tracker = new RequestTracker({ activeConfig, clock, watch, ...observers });
  const sockets = createDetachedSockets();
  const inbound =
    first.inbound &&
    (await (
      await import('./inbound/inbound.ts')
    ).createInbound(first, {
      clock,
      dispatchers,
      certificates,
      sockets,
      watch,
      recentFailures: counts.recentFailures,
      sharedHandles: sharedCache?.handles,
      ...observers,
      ...tokens,
      revocations,
    }));
  const readiness = createReadiness(logger);
  const traffic = createRecentTraffic(counts, clock.wallMs);
  const status = createStatus({
    version,
    counts,
    traffic,
    readiness,
    cacheEntries: tokens.cacheSize,
    nowMs: clock.wallMs,
    inbound: () => inbound?.status,
    sharedCache: sharedCache?.status,
    signals: signals?.status,
    audit: audit?.counts,
    agentLoad: (agent) => tracker.agentShares.of(agent),
  });
  const shown = { counts, readiness, traffic, status, logLevel: createLogLevelControl(logger), decisions, diagnoses };
  return {
    first,
    logger,
    dispatchers,
    certificates,
    ...side,
    tracker,
    sockets,
    interception,
    audit,
    inbound,
    spiffe,
    ...shown,
  };
}

interface TokenSideOptions extends Pick<Parts, 'logger' | 'counts' | 'dispatchers' | 'certificates' | 'audit'> {
  readonly activeConfig: () => ActiveConfig;
  readonly observer: TokenObserver;
}

async function createTokenSide(
  first: Config,
  { logger, activeConfig, counts, observer, dispatchers, certificates, audit }: TokenSideOptions,
): Promise<TokenSide> {
  const clock = systemClock;
  const store = first.cache.shared;
  const maxAgeMs = (): number => activeConfig().config.cache.maxAgeMs;
  const sharedCache =
    store &&
    (await (await import('./shared-cache/shared-cache.ts')).openSharedCache(store, { clock, logger, maxAgeMs }));
  const ownTokens = () => tokens.ownTokens;
  const signals =
    first.signals &&
    (await import('./signals/signals.ts')).createSignals(first.signals, {
      clock,
      logger,
      dispatchers,
      certificates,
      ownTokens,
      sharedCache,
      verified: () => verifications(activeConfig().config).map(({ issuer }) => issuer),
      onRevoked: (revocation, result) => audit?.revoked(revocation, result),
    });
  const tokens = createTokenService(first, {
    dispatchers,
    clock,
    observer,
    serverBegun: (name) => counts.tokens.availabilityChanged(name, true),
    diagnoses,
    second: sharedCache?.secondLevel,
    revocations: signals?.revocations,
  });
  return { tokens, sharedCache, signals };
}

/** Most agents send the first SVID within a second. Without one, cambist is not ready. */
async function startSpiffe(address: string, logger: Logger): Promise<WorkloadApi> {
  const { createWorkloadApi } = await import('./spiffe/workload-api.ts');
  const spiffe = createWorkloadApi({ address, clock: systemClock, logger });
  await settledWithin(spiffe.ready, FIRST_SVID_MS, undefined);
  return spiffe;
}

/** Loads the audit trail, which most configs do not use. A destination that fails at first is tried again later. */
async function startAudit(config: Audit, version: string, logger: Logger): Promise<AuditTrail> {
  const { createAuditTrail } = await import('./audit/audit-trail.ts');
  const audit = await createAuditTrail(config, version, logger);
  await audit.prepare().catch((error: unknown) => {
    logger.error({ err: error }, 'audit trail is not ready');
  });
  return audit;
}

/** Records each exchange as well. */
function withAudit(observer: TokenObserver, audit: AuditTrail | undefined): TokenObserver {
  if (audit === undefined) return observer;
  return {
    ...observer,
    exchangeFinished(outcome) {
      observer.exchangeFinished(outcome);
      audit.exchangeFinished(outcome);
    },
  };
}
