import type { FastifyInstance } from 'fastify';
import { createAdminListener } from './admin/admin-listener.ts';
import { createStatus, type Status } from './admin/status.ts';
import type { AuditTrail } from './audit/audit-trail.ts';
import { systemClock } from './clock/clock.ts';
import type { Config } from './config/config.ts';
import type { Audit, Intercept } from './config/optional-sections.ts';
import { restartKeys } from './config/restart-keys.ts';
import type { InboundSide } from './inbound/inbound.ts';
import type { Interception } from './intercept/interception.ts';
import type { InterceptListeners } from './intercept/listeners.ts';
import { limitConnections } from './listeners/limit-connections.ts';
import { openListener } from './listeners/listen.ts';
import { type Counts, createCounts } from './observability/counts.ts';
import { logDiagnosisFaults } from './observability/diagnosis-faults.ts';
import { createLogLevelControl, type LogLevelControl } from './observability/log-level.ts';
import type { Logger } from './observability/logger.ts';
import { createReadiness, type Readiness } from './observability/readiness.ts';
import { createRecentTraffic, type RecentTraffic, SAMPLE_MS } from './observability/recent-traffic.ts';
import { createTokenLog } from './observability/token-log.ts';
import type { TokenObserver } from './observability/token-observer.ts';
import type { Tracing } from './observability/tracing.ts';
import { type ActiveConfig, activate } from './proxy/active-config.ts';
import { readCallerToken } from './proxy/caller-tokens.ts';
import { createDetachedSockets, type DetachedSockets } from './proxy/detached.ts';
import { drain, settledWithin } from './proxy/drain.ts';
import { createOpenRequests } from './proxy/open-requests.ts';
import { createPipeline } from './proxy/pipeline.ts';
import { createProxyServer } from './proxy/proxy-server.ts';
import { readinessChecks } from './proxy/readiness-checks.ts';
import { RecentDecisions } from './proxy/recent-decisions.ts';
import { RequestTracker } from './proxy/request-tracker.ts';
import { createStallWatch } from './proxy/stall-watch.ts';
import type { SharedCacheSide } from './shared-cache/shared-cache.ts';
import type { SignalsSide } from './signals/signals.ts';
import { createTokenService, type TokenService } from './tokens/token-service.ts';
import { createDispatchers, type Dispatchers } from './transport/dispatchers.ts';

/** Interval for evicting expired and idle tokens and for reading credential expiry again. */
const SWEEP_MS = 60_000;

/** How long aborted requests may take to end after the shutdown grace. */
const ABORT_MS = 1000;

/** Loaded at the first failure. */
const loadDiagnoses = () => import('./doctor/diagnoses.ts');

/** Running servers. */
export interface App {
  /** The address that the agent connects to. */
  readonly listen: string;
  /** The addresses of `intercept.listen`. */
  readonly intercepting: readonly string[];
  /** The address of the admin listener. */
  readonly admin: string;
  /** The address that callers of the agent connect to. Undefined: they connect to the agent itself. */
  readonly inbound: string | undefined;
  /** The address that transmitters of signals connect to. Undefined: they do not. */
  readonly signals: string | undefined;
  /** Serves another config from the next request on. @returns the keys whose change needs a restart */
  reload(config: Config): readonly string[];
  /** Counts a config that was rejected. */
  reloadFailed(): void;
  /** Follows a change of the configured level. */
  readonly logLevel: Pick<LogLevelControl, 'configure'>;
  /** Reads TLS files again for the next connections, and opens the audit file again. */
  reopenFiles(): void;
  /**
   * Refuses new requests, waits up to `limits.shutdown_grace` for those in flight, then closes everything.
   * @param hurry ends the wait
   */
  stop(hurry?: AbortSignal): Promise<void>;
}

/** The parts of a running app that outlive a reload. */
interface Parts {
  readonly first: Config;
  readonly logger: Logger;
  readonly counts: Counts;
  readonly dispatchers: Dispatchers;
  readonly tokens: TokenService;
  readonly readiness: Readiness;
  readonly traffic: RecentTraffic;
  readonly status: Status;
  readonly logLevel: LogLevelControl;
  readonly tracker: RequestTracker;
  readonly sockets: DetachedSockets;
  readonly interception: Interception | undefined;
  /** Undefined where it is off. */
  readonly audit: AuditTrail | undefined;
  readonly inbound: InboundSide | undefined;
  readonly sharedCache: SharedCacheSide | undefined;
  readonly signals: SignalsSide | undefined;
  readonly decisions: RecentDecisions;
}

interface Servers {
  readonly proxy: FastifyInstance;
  readonly admin: FastifyInstance;
}

/**
 * Starts the servers of a config. Reads no environment and never exits.
 * @param tracing undefined: no spans are made
 * @throws {Error} where a listener cannot open
 */
export async function startApp(first: Config, version: string, logger: Logger, tracing?: Tracing): Promise<App> {
  let active = activate(first);
  const activeConfig = (): ActiveConfig => active;
  const interception = first.intercept && (await intercept(first.intercept, first, logger));
  const audit = first.audit && (await startAudit(first.audit, version, logger));
  const diagnoses = logDiagnosisFaults(loadDiagnoses, logger);
  const parts = await createParts({ diagnoses, first, activeConfig, version, logger, tracing, interception, audit });
  const { counts, dispatchers, tokens, tracker, sockets, inbound, signals, sharedCache } = parts;
  const pipeline = createPipeline({
    ...tokens,
    clock: systemClock,
    dispatchers,
    observer: counts.proxy,
    diagnoses,
    readCaller: inbound?.readCaller ?? readCallerToken,
    stateKeys: sharedCache?.stateKeys,
  });
  const tlsBridge = interception?.createTlsBridge(counts.proxy);
  const { app: proxy, enter } = await createProxyServer({
    activeConfig,
    tracker,
    pipeline,
    sockets,
    logger,
    tlsBridge,
    reach: interception?.reach ?? {},
  });
  const { limits } = first;
  const connections = limitConnections(proxy.server, limits.maxConnections, (count) => {
    logger.warn({}, `limits.max_connections is reached; dropped ${count} connections`);
  });
  const adminServer = createAdminListener(parts, () => active.config, version, connections);
  const listen = await openListener(proxy, first.listen, 'listen', first.socketMode);
  let redirected: InterceptListeners | undefined;
  const closeOnError = async (error: unknown): Promise<never> => {
    await redirected?.close();
    await Promise.all([proxy.close(), adminServer.close()]);
    throw error;
  };
  await interception?.announce(listen).catch(closeOnError);
  if (interception !== undefined && tlsBridge !== undefined) {
    const options = { activeConfig, tracker, sockets, observer: counts.proxy, enter, tlsBridge };
    redirected = await interception.open(options).catch(closeOnError);
  }
  const admin = await openListener(adminServer, first.admin, 'admin', first.socketMode).catch(closeOnError);
  interception?.refuse(admin);
  const callers = await inbound?.open().catch(closeOnError);
  const transmitters = await signals?.open(first.socketMode).catch(closeOnError);
  serve(parts, first);
  const sweeping = setInterval(() => {
    tokens.sweep();
    audit?.sweep();
    inbound?.sweep();
    signals?.revocations.sweep();
  }, SWEEP_MS);
  const sampling = setInterval(() => {
    parts.traffic.sample();
    inbound?.status.traffic.sample();
  }, SAMPLE_MS).unref();

  return {
    listen,
    intercepting: redirected?.addresses ?? [],
    admin,
    inbound: callers,
    signals: transmitters,
    reload(config) {
      active = activate(config);
      connections.set(config.limits.maxConnections);
      const closed = tracker.tunnels.closeRouted(active.table);
      if (closed > 0) logger.warn({}, `closed ${closed} tunnels to hosts that have a route now`);
      const waiting = serve(parts, config);
      counts.reloaded('success');
      return waiting;
    },
    reloadFailed: () => counts.reloaded('failure'),
    logLevel: parts.logLevel,
    reopenFiles() {
      dispatchers.rereadTls();
      audit?.reopen();
    },
    async stop(hurry) {
      clearInterval(sweeping);
      clearInterval(sampling);
      void redirected?.close();
      await shutDown(parts, active.config.limits.shutdownGraceMs, { proxy, admin: adminServer }, hurry);
    },
  };
}

/** Its modules are loaded only where they are used. */
async function intercept(config: Intercept, { routes }: Config, logger: Logger): Promise<Interception> {
  const { startInterception } = await import('./intercept/interception.ts');
  return startInterception(config, routes, logger);
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

interface PartOptions extends Pick<Parts, 'first' | 'logger' | 'interception' | 'audit'> {
  readonly activeConfig: () => ActiveConfig;
  readonly version: string;
  readonly tracing: Tracing | undefined;
  readonly diagnoses: typeof loadDiagnoses;
}

async function createParts(options: PartOptions): Promise<Parts> {
  const { first, activeConfig, version, logger, tracing, interception, audit, diagnoses } = options;
  const clock = systemClock;
  const counts = createCounts(clock.wallMs);
  const observer = withAudit(createTokenLog(logger, counts.tokens), audit);
  const dispatchers = createDispatchers(observer.credentialRead, interception?.reach);
  const serverBegun = (name: string): void => counts.tokens.availabilityChanged(name, true);
  const maxAgeMs = (): number => activeConfig().config.cache.maxAgeMs;
  const store = first.cache.shared;
  const module = store && (await import('./shared-cache/shared-cache.ts'));
  const sharedCache = store && (await module?.openSharedCache(store, { clock, logger, maxAgeMs }));
  const second = sharedCache?.secondLevel;
  const signals =
    first.signals &&
    (await import('./signals/signals.ts')).createSignals(first.signals, {
      clock,
      logger,
      dispatchers,
      ownTokens: () => tokens.ownTokens,
      sharedCache,
    });
  const revocations = signals?.revocations;
  const tokens = createTokenService(first, {
    dispatchers,
    clock,
    observer,
    serverBegun,
    diagnoses,
    second,
    revocations,
  });
  const readiness = createReadiness(logger);
  const traffic = createRecentTraffic(counts, clock.wallMs);
  const cacheEntries = tokens.cacheSize;
  const status = createStatus({
    version,
    counts,
    traffic,
    readiness,
    cacheEntries,
    nowMs: clock.wallMs,
    inbound: () => inbound?.status,
    sharedCache: sharedCache?.status,
    signals: signals?.status,
  });
  const logLevel = createLogLevelControl(logger);
  const keepLine = (): boolean => {
    const { sample } = activeConfig().config.log;
    return sample === 1 || logger.isLevelEnabled('debug') || Math.random() < sample;
  };
  const watch = createStallWatch(clock);
  const decisions = new RecentDecisions();
  const openRequests = revocations && createOpenRequests(revocations);
  const observers = { observer: counts.proxy, logger, keepLine, tracing, audit, decisions, openRequests };
  const tracker = new RequestTracker({ activeConfig, clock, watch, ...observers });
  const sockets = createDetachedSockets();
  const { recentFailures } = counts;
  const sharedHandles = sharedCache?.handles;
  const shared = {
    clock,
    dispatchers,
    sockets,
    watch,
    recentFailures,
    sharedHandles,
    ...observers,
    ...tokens,
    revocations,
  };
  const inbound = first.inbound && (await (await import('./inbound/inbound.ts')).createInbound(first, shared));
  const running = { tracker, sockets, interception, audit, inbound, signals, sharedCache, decisions };
  const shown = { counts, readiness, traffic, status, logLevel };
  return { first, logger, dispatchers, tokens, ...running, ...shown };
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

/** Applies a config to every part that follows a reload. @returns the keys whose change needs a restart */
function serve(parts: Parts, config: Config): string[] {
  const waiting = [...restartKeys(parts.first, config), ...(parts.interception?.serve(config.routes) ?? [])];
  parts.counts.serve(config);
  parts.tokens.serve(config);
  parts.inbound?.serve(config);
  parts.readiness.require(readinessChecks(config, parts.first, parts));
  parts.status.serve(config, waiting);
  return waiting;
}

/** Refuses new requests, waits for those in flight, then closes everything. */
async function shutDown(parts: Parts, graceMs: number, servers: Servers, hurry: AbortSignal | undefined) {
  const { readiness, tracker, inbound, signals, sockets, dispatchers, logger, audit, sharedCache } = parts;
  const { proxy, admin } = servers;
  readiness.stop();
  // While the agent serves its callers, it needs its backends.
  const trackers = inbound === undefined ? [tracker] : [inbound.tracker, tracker];
  await drain(trackers, { clock: systemClock, graceMs, hurry, logger });
  for (const each of trackers) each.isClosing = true;
  sockets.destroyAll();
  await Promise.all([inbound?.close(), signals?.close(), proxy.close()]);
  // An aborted request ends with its connection, before its upstream connection is destroyed.
  await settledWithin(Promise.all(trackers.map((each) => each.drain())), ABORT_MS, undefined);
  await admin.close();
  await dispatchers.destroy();
  sharedCache?.close();
  await audit?.close(hurry);
}
