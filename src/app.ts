import fastify from 'fastify';
import { createAdminServer } from './admin/server.ts';
import { createStatus } from './admin/status.ts';
import { systemClock } from './clock/clock.ts';
import { askedServers } from './config/asked-servers.ts';
import type { AuthorizationServer, Config } from './config/config.ts';
import { openListener } from './listeners/listen.ts';
import { NO_SCHEMAS } from './listeners/no-schemas.ts';
import { createCounts } from './observability/counts.ts';
import type { Logger } from './observability/logger.ts';
import { createRegistry } from './observability/metrics.ts';
import { createReadiness, type Need } from './observability/readiness.ts';
import { createTokenLog } from './observability/token-log.ts';
import type { Tracing } from './observability/tracing.ts';
import { createServing } from './proxy/admission.ts';
import { createClientErrorHandler } from './proxy/client-error.ts';
import { serveConnect } from './proxy/connect.ts';
import { createDetachedSockets } from './proxy/detached.ts';
import { registerProxy, toRoot } from './proxy/plugin.ts';
import { createTraffic } from './proxy/traffic.ts';
import { serveUpgrades } from './proxy/upgrade.ts';
import { readCredential } from './secrets/credential.ts';
import { createBroker } from './tokens/broker.ts';
import { createTokenCache } from './tokens/cache.ts';
import { type Assertion, createAssertions } from './tokens/chain.ts';
import { readExpiries } from './tokens/credential-expiry.ts';
import { createDpopProver } from './tokens/dpop.ts';
import { createExchange } from './tokens/exchange.ts';
import { createSubjectReader } from './tokens/subject.ts';
import { createSubjectSource } from './tokens/subject-source.ts';
import { createSubjectVerifier } from './tokens/subject-verifier.ts';
import { createTokenEndpoints } from './tokens/token-endpoints.ts';
import { createDispatchers, upstreamPeer } from './transport/dispatchers.ts';

/** How often dead and idle tokens are looked for, and our own credentials read for when they end. */
const SWEEP_MS = 60_000;

/** Until connections that were cut have ended. */
const CUT_MS = 1000;

/** To an issuer whose keys are wanted. */
const KEYS_CONNECT_MS = 5000;

/** Running servers. */
export interface App {
  /** Where the agent connects, and where the admin listener is. */
  readonly listen: string;
  readonly admin: string;
  /** Serves another config from the next request on. @returns the keys whose change waits for a restart */
  reload(config: Config): readonly string[];
  /** Counts a config that was not taken. */
  reloadFailed(): void;
  /** Reads TLS files anew for the next connections. */
  rereadTls(): void;
  /**
   * Refuses new requests, waits for those under way as long as `limits.shutdown_grace`, then closes everything.
   * @param hurry ends the wait
   */
  stop(hurry?: AbortSignal): Promise<void>;
}

/**
 * Config in, running servers out. It reads no environment and never exits.
 * @param tracing undefined: no spans are made
 */
export async function startApp(first: Config, version: string, logger: Logger, tracing?: Tracing): Promise<App> {
  const clock = systemClock;
  const counts = createCounts(clock.wallMs);
  const tokenObserver = createTokenLog(logger, counts.tokens);
  const cache = createTokenCache(first.cache.maxEntries, clock, tokenObserver.tokenEvicted);
  /** What the first legs of chains gave; no backend gets it, so it is not counted among the issued tokens. */
  const assertions = createTokenCache<Assertion>(first.cache.maxEntries, clock, () => {});
  const dpop = createDpopProver(clock);
  const dispatchers = createDispatchers(tokenObserver.credentialRead);
  const readiness = createReadiness(logger);
  const status = createStatus({
    version,
    counts,
    readiness,
    cacheEntries: () => cache.size,
    nowMs: clock.wallMs,
  });
  const traffic = createTraffic({
    clock,
    observer: counts.proxy,
    logger,
    credentialHeaders: () => serving.tokenHeaders,
    keepLine: () => serving.config.log.sample === 1 || Math.random() < serving.config.log.sample,
    tracing,
  });

  const endpoints = createTokenEndpoints(
    ({ name, tls, timeoutMs }) =>
      dispatchers.for({ name: `authorization server "${name}"`, tls, connectMs: timeoutMs }),
    {
      clock,
      dpop,
      credentialRead: tokenObserver.credentialRead,
      availabilityChanged: tokenObserver.availabilityChanged,
      serverBegun: (name) => counts.tokens.availabilityChanged(name, true),
      servers: () => serving.config.authorizationServers,
    },
  );
  endpoints.serve(neededServers(first));
  let serving = createServing(first);

  /** @returns the keys of it whose change waits for a restart */
  function serve(config: Config): string[] {
    const waiting = restartKeys(first, config);
    serving = createServing(config);
    endpoints.serve(neededServers(config));
    readiness.require(needsOf(config));
    counts.serve(config);
    status.serve(config, waiting);
    readOwnExpiries();
    return waiting;
  }

  function readOwnExpiries(): void {
    const { config } = serving;
    void readExpiries(config, (name, seconds) => {
      // By the config before this one the same name may be that of another file.
      if (serving.config === config) tokenObserver.credentialRead(name, seconds);
    });
  }

  /** All that must have been found and read once, under a key that changes when what it is about does. */
  function needsOf(config: Config): Map<string, Need> {
    const needs = new Map<string, Need>();
    const need = (name: string, about: unknown, prepare: Need['prepare']): void => {
      needs.set(JSON.stringify([name, about]), { name, prepare });
    };
    for (const server of neededServers(config)) {
      need(`authorization_servers.${server.name}`, server, () => endpoints.of(server).prepare());
    }
    for (const route of config.routes) {
      const { name, tls, credential } = route;
      const { verify, file: own } = route.subjectToken;
      if (tls !== undefined) need(`routes.${name}.tls`, tls, async () => dispatchers.for(upstreamPeer(route)));
      if (verify !== undefined) need(`routes.${name}.subject_token.verify`, verify, () => verifier.prepare(verify));
      if (credential.kind !== 'exchange') continue;
      const actor = credential.actorToken?.source;
      if (actor !== undefined) {
        need(`routes.${name}.actor_token`, actor, () => readCredential(actor, `actor token of route "${name}"`));
      }
      if (own !== undefined) {
        need(`routes.${name}.subject_token`, own, () => readCredential(own, `subject token of route "${name}"`));
      }
    }
    return needs;
  }

  const exchange = createExchange({
    endpoint: endpoints.of,
    assertions: createAssertions(assertions),
    dpop,
    maxAgeMs: () => serving.config.cache.maxAgeMs,
    clock,
    observer: tokenObserver,
    random: Math.random,
  });
  const verifier = createSubjectVerifier(
    // Our certificate is for the token endpoint; whoever publishes keys need not see it.
    ({ issuer, ca }) =>
      dispatchers.for({
        name: `issuer "${issuer}"`,
        tls: ca === undefined ? undefined : { ca, certificate: undefined, privateKey: undefined },
        connectMs: KEYS_CONNECT_MS,
      }),
    clock,
  );
  const proxy = fastify({
    logger: false,
    schemaController: NO_SCHEMAS,
    rewriteUrl: toRoot,
    exposeHeadRoutes: false,
    return503OnClosing: false,
    forceCloseConnections: true,
    http: { maxHeaderSize: first.limits.maxHeaderBytes },
    clientErrorHandler: createClientErrorHandler(logger),
  });
  const ways = {
    serving: () => serving,
    broker: createBroker({ cache, exchange, clock, observer: tokenObserver }),
    subjects: createSubjectSource({
      reader: createSubjectReader(),
      verifier,
      clock,
      credentialRead: tokenObserver.credentialRead,
    }),
    clock,
    dispatchers,
    observer: counts.proxy,
    traffic,
    logger,
    sockets: createDetachedSockets(),
  };
  // Headers beyond a count would be dropped unseen, and with them what a request says of itself; their size is bounded.
  proxy.server.maxHeadersCount = 0;
  await registerProxy(proxy, ways);
  // Node would answer 417 to what it does not know, and a backend may know it.
  proxy.server.on('checkExpectation', (request, response) => proxy.server.emit('request', request, response));
  serveConnect(proxy.server, ways);
  serveUpgrades(proxy.server, ways);
  const adminServer = createAdminServer({
    registry: createRegistry(version, {
      counts,
      cacheEntries: () => cache.size,
      cacheMaxEntries: () => serving.config.cache.maxEntries,
      readiness: readiness.report,
      logLinesLost: logger.linesLost,
    }),
    readiness,
    cacheReport: () => cache.report(),
    status: status.report,
  });
  const listen = await openListener(proxy, first.listen, 'listen');
  const admin = await openListener(adminServer, first.admin, 'admin').catch(async (error: unknown) => {
    await proxy.close();
    throw error;
  });
  serve(first);
  const sweeping = setInterval(() => {
    cache.sweep();
    assertions.sweep();
    readOwnExpiries();
  }, SWEEP_MS);

  return {
    listen,
    admin,
    reload(config) {
      if (config.cache.maxEntries !== serving.config.cache.maxEntries) {
        cache.resize(config.cache.maxEntries);
        assertions.resize(config.cache.maxEntries);
      }
      if (config.cache.maxAgeMs < serving.config.cache.maxAgeMs) {
        cache.limitAge(config.cache.maxAgeMs, Math.random);
        assertions.limitAge(config.cache.maxAgeMs, Math.random);
      }
      const waiting = serve(config);
      counts.reloaded('success');
      return waiting;
    },
    reloadFailed: () => counts.reloaded('failure'),
    rereadTls: () => dispatchers.rereadTls(),
    async stop(hurry) {
      readiness.stop();
      clearInterval(sweeping);
      const graceMs = serving.config.limits.shutdownGraceMs;
      const drained = traffic.drain();
      if (traffic.underWay().in_flight > 0) {
        const until = new Date(clock.wallMs() + graceMs).toISOString();
        logger.info({ ...traffic.underWay(), until }, 'requests are under way: a second signal cuts them');
      }
      await settledWithin(drained, graceMs, hurry);
      if (traffic.underWay().in_flight > 0)
        logger.warn(traffic.underWay(), 'requests are cut that are still under way');
      traffic.cut();
      ways.sockets.destroyAll();
      await proxy.close();
      // A request that was cut ends with its connection, before its upstream is taken from it.
      await settledWithin(drained, CUT_MS, undefined);
      await adminServer.close();
      await dispatchers.destroy();
    },
  };
}

/** The authorization servers that some route uses. */
function neededServers(config: Config): Set<AuthorizationServer> {
  return new Set(config.routes.flatMap(({ credential }) => askedServers(credential)));
}

/** What is fixed when a listener opens. */
function restartKeys(before: Config, after: Config): string[] {
  const changed: string[] = [];
  if (JSON.stringify(before.listen) !== JSON.stringify(after.listen)) changed.push('listen');
  if (JSON.stringify(before.admin) !== JSON.stringify(after.admin)) changed.push('admin');
  if (before.limits.maxHeaderBytes !== after.limits.maxHeaderBytes) changed.push('limits.max_header_size');
  return changed;
}

async function settledWithin(work: Promise<void>, ms: number, hurry: AbortSignal | undefined): Promise<void> {
  if (hurry?.aborted === true) return;
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([
    work,
    new Promise<void>((resolve) => {
      timer = setTimeout(resolve, ms);
      hurry?.addEventListener('abort', () => resolve(), { once: true });
    }),
  ]);
  clearTimeout(timer);
}
