import type { Socket } from 'node:net';
import { clientCertificateRule } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import type { Inbound } from '../config/inbound.ts';
import { connectionEvent } from '../listeners/idle-connection.ts';
import { openListener } from '../listeners/listen.ts';
import { limitCallers } from '../listeners/open-files.ts';
import { type ListenerCertificates, tlsOf } from '../listeners/tls.ts';
import type { RecentFailures } from '../observability/recent-failures.ts';
import { createRecentTraffic } from '../observability/recent-traffic.ts';
import type { DetachedSockets } from '../proxy/detached.ts';
import { createProxyServer } from '../proxy/proxy-server.ts';
import { RequestTracker, type RequestTrackerOptions } from '../proxy/request-tracker.ts';
import type { SharedHandles } from '../shared-cache/shared-handles.ts';
import type { Revocations } from '../tokens/revocations.ts';
import { createSubjectReader } from '../tokens/subject.ts';
import type { TokenService } from '../tokens/token-service.ts';
import type { Dispatchers } from '../transport/dispatchers.ts';
import { activateInbound, INBOUND } from './agent-route.ts';
import { createHandles, type Handle } from './handles.ts';
import { createInboundCounts, inboundFamilies } from './inbound-metrics.ts';
import { createInboundPipeline } from './inbound-pipeline.ts';
import { createHandleReader } from './read-caller.ts';
import { createForeignHandles } from './verify-caller.ts';

/**
 * A busy connection closes after this time, with a response. A pod that shuts down gets no new connections, but no signal either
 * before its agent has stopped: callers must leave before that.
 */
const MAX_CONNECTION_MS = 5000;

/** The listener for callers of the agent, and the handles that the agent gets. */
export type InboundSide = Awaited<ReturnType<typeof createInbound>>;

/** The numbers of the status page. The requests of callers are sampled like those of the routes. */
export type InboundSource = InboundSide['status'];

export interface InboundOptions
  extends Pick<TokenService, 'broker' | 'verifier'>,
    Omit<RequestTrackerOptions, 'activeConfig' | 'observer'> {
  readonly dispatchers: Dispatchers;
  readonly sockets: DetachedSockets;
  readonly certificates: ListenerCertificates;
  readonly recentFailures: RecentFailures;
  readonly sharedHandles: SharedHandles | undefined;
  readonly revocations: Revocations | undefined;
}

/** @param first has an `inbound` section. A config without one, after a reload, leaves the previous section in force */
export async function createInbound(first: Config, options: InboundOptions) {
  const { clock, logger, sockets, verifier, revocations } = options;
  let { inbound } = first as Config & { readonly inbound: Inbound };
  let active = activateInbound(first, inbound);
  const activeConfig = () => active;
  const counts = createInboundCounts(options.recentFailures);
  const traffic = createRecentTraffic({ route: () => counts.route, routes: () => [counts.route] }, clock.wallMs);
  traffic.serve([INBOUND]);
  const { sharedHandles: shared } = options;
  const rules = () => inbound.verify;
  const handles = createHandles(first.cache.maxEntries, clock, counts.handleRemoved, shared?.digestOf);
  const findForeign = shared && createForeignHandles({ shared, handles, verifier, rules, clock });
  const share = shared && (({ text, subject }: Handle) => shared.share(text, subject.token, subject.expiresAtMs ?? 0));
  const observer = counts.proxy;
  const tracker = new RequestTracker({ ...options, activeConfig, observer });
  const reader = createSubjectReader();
  const checksClients = clientCertificateRule(tlsOf(inbound.listen)) !== undefined;
  const pipeline = createInboundPipeline({ ...options, observer, reader, handles, rules, share, checksClients });
  const opened = new WeakMap<Socket, number>();
  revocations?.onRevoked(() => handles.removeRevoked(revocations.isRevoked));
  const { app: server } = await createProxyServer(inbound.listen, {
    activeConfig,
    tracker,
    pipeline(request, switched) {
      const { incoming, record } = request;
      const openedMs = opened.get(incoming.socket) ?? record.startedMs;
      if (record.startedMs - openedMs > MAX_CONNECTION_MS) request.closeAfterResponse();
      return pipeline(request, switched);
    },
    sockets,
    logger,
    tlsBridge: undefined,
    reach: {},
  });
  server.server.on(connectionEvent(server.server), (socket) => opened.set(socket, clock.monotonicMs()));
  const limits = () => active.config.limits;
  const connections = limitCallers(server.server, 'inbound.listen', server.server, limits, logger);

  return {
    open: () => openListener(server, inbound.listen, 'inbound.listen', first.socketMode, options.certificates),
    close: async (): Promise<void> => server.close(),
    tracker,
    connections: () => connections.counts,
    readCaller: createHandleReader(handles, () => inbound, counts.detachedUse, findForeign),
    families: inboundFamilies(counts, () => handles.size),
    /** Applies a config to the next requests. Another `inbound.verify` invalidates all handles. */
    serve(config: Config): void {
      const before = JSON.stringify(inbound.verify);
      inbound = config.inbound ?? inbound;
      active = activateInbound({ ...config, inbound }, inbound);
      handles.resize(config.cache.maxEntries);
      if (JSON.stringify(inbound.verify) !== before) handles.clear();
    },
    sweep: () => handles.sweep(),
    status: { traffic, counts, agent: () => inbound.agent, handles: () => handles.size },
  };
}
