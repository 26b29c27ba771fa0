import type { FastifyInstance } from 'fastify';
import { createAdminListener } from './admin/admin-server.ts';
import { systemClock } from './clock/clock.ts';
import { clientCertificateRule } from './config/addresses.ts';
import type { Config } from './config/config.ts';
import { restartKeys } from './config/config.ts';
import { decisionListeners } from './config/decisions.ts';
import type { DecisionSide } from './decisions/decisions.ts';
import type { InterceptListeners } from './intercept/redirected.ts';
import { openListener } from './listeners/listen.ts';
import { fitConnections, limitCallers } from './listeners/open-files.ts';
import { tlsOf } from './listeners/tls.ts';
import { total } from './observability/counters.ts';
import { UNMATCHED } from './observability/expected.ts';
import type { LogLevelControl } from './observability/log-level.ts';
import type { Logger } from './observability/logger.ts';
import { SAMPLE_MS } from './observability/recent-traffic.ts';
import type { Tracing } from './observability/tracing.ts';
import { createParts, type Parts } from './parts.ts';
import { type ActiveConfig, activate } from './proxy/active-config.ts';
import { type DrainOptions, drain, settledWithin } from './proxy/drain.ts';
import { createPipeline, type PipelineOptions } from './proxy/pipeline.ts';
import { createProxyServer } from './proxy/proxy-server.ts';
import { readCallerToken } from './proxy/read-caller-token.ts';
import { readinessChecks } from './proxy/readiness-checks.ts';
import type { SignalsSide } from './signals/signals.ts';

/** Interval for evicting expired and idle tokens and for reading credential expiry again. */
const SWEEP_MS = 60_000;

/** Longest time that aborted requests take to end after the shutdown grace. */
const ABORT_MS = 1000;

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
  /** The addresses that a data plane asks for decisions. Undefined: it does not. */
  readonly decisions: string | undefined;
  readonly decisionsByGrpc: string | undefined;
  /** The address that transmitters of signals connect to. Undefined: they do not. */
  readonly signals: string | undefined;
  /**
   * Serves another config from the next request on.
   * @param isOfTeam the main file is as it was
   * @returns the keys whose change needs a restart
   * @throws {Error} where the previous config stays active
   */
  reload(config: Config, isOfTeam?: boolean): readonly string[];
  /** Counts a config that was rejected. */
  reloadFailed(): void;
  /** Has a request reached a route? */
  readonly wasUsed: () => boolean;
  /** Follows a change of the configured level. */
  readonly logLevel: Pick<LogLevelControl, 'configure'>;
  /** Reads the TLS files of peers again for the next connections. @param changed only those of peers with one of these */
  rereadTls(changed?: readonly string[]): void;
  /** The same, with those of listeners, and opens the audit file again. */
  reopenFiles(): void;
  /**
   * Serves requests for up to 3 s more, each as the last of its connection. Then refuses new ones, waits up to `limits.shutdown_grace` for
   * those in flight, and closes everything.
   */
  stop(hurry?: AbortSignal): Promise<void>;
}

interface Servers {
  readonly decisions: DecisionSide | undefined;
  readonly proxy: FastifyInstance;
  readonly admin: FastifyInstance;
}

/**
 * Starts the servers of a config. Reads no environment and never exits.
 * @param tracing undefined: no spans are made
 * @throws {Error} where a listener cannot open
 */
export async function startApp(written: Config, version: string, logger: Logger, tracing?: Tracing): Promise<App> {
  const first = fitConnections(written, logger);
  let active = activate(first);
  const activeConfig = (): ActiveConfig => active;
  const parts = await createParts(first, { activeConfig, version, logger, tracing });
  const { counts, dispatchers, certificates, tokens, tracker, sockets, interception, audit, inbound } = parts;
  const hasClients = [first.listen, ...Object.values(decisionListeners(first.decisions))].some(
    (each) => clientCertificateRule(tlsOf(each)) !== undefined,
  );
  const identify =
    first.agents === undefined && !hasClients
      ? undefined
      : (await import('./identity/identify.ts')).createIdentify({ verifier: tokens.verifier, clock: systemClock });
  const pipelineOptions: PipelineOptions = {
    ...tokens,
    clock: systemClock,
    dispatchers,
    observer: counts.proxy,
    watch: tracker.options.watch,
    diagnoses: parts.diagnoses,
    identify,
    readCaller: inbound?.readCaller ?? readCallerToken,
  };
  const pipeline = createPipeline(pipelineOptions);
  const decisions =
    first.decisions &&
    (await (
      await import('./decisions/decisions.ts')
    ).createDecisions(
      { ...first, decisions: first.decisions },
      {
        pipeline: pipelineOptions,
        activeConfig,
        tracker,
        certificates,
        isReady: () => parts.readiness.report().ready,
        logger,
        counts,
      },
    ));
  const tlsBridge = interception?.createTlsBridge(counts.proxy);
  const { app: proxy, enter } = await createProxyServer(first.listen, {
    activeConfig,
    tracker,
    pipeline,
    sockets,
    logger,
    identify,
    tlsBridge,
    reach: interception?.reach ?? {},
  });
  const limits = () => active.config.limits;
  const connections = limitCallers(proxy.server, 'listen', proxy.server, limits, logger);
  const servers: Servers = {
    proxy,
    decisions,
    admin: createAdminListener(parts, () => active.config, version, connections),
  };
  const { addresses, redirected } = await openListeners(parts, servers, async () => {
    if (tlsBridge === undefined) return undefined;
    return interception?.open({
      activeConfig,
      tracker,
      sockets,
      observer: counts.proxy,
      enter,
      tlsBridge,
      http: proxy.server,
    });
  });
  serve(parts, first);
  const endRegularWork = startRegularWork(parts);

  return {
    ...addresses,
    reload(next, isOfTeam = false) {
      // Until a restart, nothing would identify agents, and routes would serve every client.
      if ((next.agents === undefined) !== (first.agents === undefined))
        throw new Error('agents: a reload can neither add nor remove the section: restart cambist');
      const config = fitConnections(next, logger);
      active = activate(config);
      const closed = tracker.tunnels.closeRouted(active.table);
      if (closed > 0) logger.warn({}, `closed ${closed} tunnels to hosts that have a route now`);
      const waiting = serve(parts, config);
      if (!isOfTeam) counts.reloaded('success', waiting.length);
      return waiting;
    },
    reloadFailed: () => counts.reloaded('failure'),
    wasUsed: () => counts.routes().some(({ route, arrivals }) => route !== UNMATCHED && total(arrivals) > 0),
    logLevel: parts.logLevel,
    rereadTls: dispatchers.rereadTls,
    reopenFiles() {
      dispatchers.rereadTls();
      audit?.reopen();
      void certificates.reread();
    },
    async stop(hurry) {
      endRegularWork();
      const open = () =>
        connections.counts.open +
        (inbound?.connections().open ?? 0) +
        (decisions?.connections() ?? 0) +
        (redirected?.connections() ?? 0);
      const graceMs = active.config.limits.shutdownGraceMs;
      await shutDown(parts, { graceMs, hurry, connections: open }, servers, redirected);
    },
  };
}

/** Opens all listeners. If one cannot open, closes those that are open. */
async function openListeners(
  { first, interception, inbound, signals, certificates }: Parts,
  servers: Servers,
  openRedirected: () => Promise<InterceptListeners | undefined>,
) {
  let redirected: InterceptListeners | undefined;
  try {
    const listen = await openListener(servers.proxy, first.listen, 'listen', first.socketMode, certificates);
    await interception?.announce(listen);
    redirected = await openRedirected();
    const admin = await openListener(servers.admin, first.admin, 'admin', first.socketMode, certificates);
    interception?.refuse(admin);
    const decisions = await servers.decisions?.open();
    const addresses = {
      listen,
      intercepting: redirected?.addresses ?? [],
      admin,
      inbound: await inbound?.open(),
      decisions: decisions?.http,
      decisionsByGrpc: decisions?.grpc,
      signals: await signals?.open(first.socketMode),
    };
    return { addresses, redirected };
  } catch (error) {
    await redirected?.close();
    await Promise.all([servers.proxy.close(), servers.decisions?.close(), servers.admin.close()]);
    throw error;
  }
}

/** @returns ends the work */
function startRegularWork({ tokens, audit, inbound, signals, traffic }: Parts): () => void {
  const sweeping = setInterval(() => {
    tokens.sweep();
    audit?.sweep();
    inbound?.sweep();
    signals?.sweep();
  }, SWEEP_MS);
  const sampling = setInterval(() => {
    traffic.sample();
    inbound?.status.traffic.sample();
  }, SAMPLE_MS).unref();
  return () => {
    clearInterval(sweeping);
    clearInterval(sampling);
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

/** Waits for the last requests, then closes everything. */
async function shutDown(
  parts: Parts,
  leaving: Pick<DrainOptions, 'graceMs' | 'hurry' | 'connections'>,
  servers: Servers,
  redirected: InterceptListeners | undefined,
) {
  const { graceMs, hurry } = leaving;
  const { readiness, tracker, inbound, signals, sockets, dispatchers, logger, audit, sharedCache, spiffe, tokens } =
    parts;
  const { proxy, decisions, admin } = servers;
  // Aborted from the start, it is `exec`, whose command is finished: the only wait is for the audit records of its requests.
  const untilWritten = hurry?.aborted === true ? undefined : hurry;
  readiness.stop();
  // While the agent serves its callers, it needs its backends.
  const trackers = inbound === undefined ? [tracker] : [inbound.tracker, tracker];
  const untilMs = systemClock.monotonicMs() + graceMs;
  await drain(trackers, { clock: systemClock, logger, ...leaving });
  void redirected?.close();
  // After the drain, because signals still arrive during it.
  if (signals !== undefined) await shareRevocations(signals, untilMs - systemClock.monotonicMs(), hurry, logger);
  for (const each of trackers) each.isClosing = true;
  sockets.destroyAll();
  await Promise.all([inbound?.close(), signals?.close(), proxy.close(), decisions?.close()]);
  // An aborted request ends with its connection, before its upstream connection is destroyed.
  await settledWithin(Promise.all(trackers.map((each) => each.drain())), ABORT_MS, undefined);
  await admin.close();
  await dispatchers.destroy();
  sharedCache?.close();
  spiffe?.close();
  // The exchanges that are left fail now. Each gets an audit record.
  await settledWithin(tokens.broker.settled(), ABORT_MS, undefined);
  await audit?.close(untilWritten);
}

/** Other replicas would not learn of a revocation that only this process knows. */
async function shareRevocations(signals: SignalsSide, leftMs: number, hurry: AbortSignal | undefined, logger: Logger) {
  const unshared = () => signals.status().replicas?.unshared ?? 0;
  if (unshared() > 0) {
    logger.warn({}, `revocations that other replicas do not know: ${unshared()}; waiting for the shared cache`);
  }
  await settledWithin(signals.allShared(), leftMs, hurry);
  if (unshared() > 0) logger.error({}, `stopping; revocations that other replicas do not know: ${unshared()}`);
}
