import type { FastifyInstance } from 'fastify';
import type { Listen } from '../config/addresses.ts';
import type { Config } from '../config/config.ts';
import type { Decisions } from '../config/decisions.ts';
import { createIdleCloser } from '../listeners/idle-connection.ts';
import type { ConnectionLimitOptions } from '../listeners/limit-connections.ts';
import { openListener } from '../listeners/listen.ts';
import { limitCallers } from '../listeners/open-files.ts';
import type { ListenerCertificates } from '../listeners/tls.ts';
import type { Counts } from '../observability/counts.ts';
import type { Logger } from '../observability/logger.ts';
import type { ActiveConfig } from '../proxy/active-config.ts';
import { headerValues } from '../proxy/headers.ts';
import type { PipelineOptions } from '../proxy/pipeline.ts';
import { createHttpServer } from '../proxy/proxy-server.ts';
import type { RequestTracker } from '../proxy/request-tracker.ts';
import { createBeginDecision } from './begin-decision.ts';
import { readReport, SECRET_HEADER } from './report.ts';
import { createSecretCheck } from './secret-check.ts';

interface DecisionOptions {
  readonly pipeline: PipelineOptions;
  readonly activeConfig: () => ActiveConfig;
  readonly tracker: RequestTracker;
  readonly certificates: ListenerCertificates;
  readonly isReady: () => boolean;
  readonly logger: Logger;
  readonly counts: Counts;
}

/** The listeners that decide for a data plane, which forwards the requests itself. */
export type DecisionSide = Awaited<ReturnType<typeof createDecisions>>;

/** Loads the module of gRPC only if the config has it. */
export async function createDecisions(first: Config & { readonly decisions: Decisions }, options: DecisionOptions) {
  const { activeConfig, tracker, certificates, isReady, logger, counts } = options;
  const current = () => activeConfig().config.decisions ?? first.decisions;
  const isNamed = () => current().routesBy === 'name';
  const admits = createSecretCheck(first.decisions, current, logger, counts);
  const beginDecision = createBeginDecision(options.pipeline, tracker, counts);
  const { http, grpc } = first.decisions;
  const listeners = [http && createHttp(http.listen), grpc && (await createGrpc(grpc))].filter(
    (each) => each !== undefined,
  );

  function createHttp(listen: Listen) {
    const app = createHttpServer(listen, { activeConfig, logger }, (incoming, response, url) => {
      const proceed = (isAdmitted: boolean): void => {
        if (!isAdmitted) {
          response.writeHead(403, { 'content-length': 0, 'cache-control': 'no-store' }).end();
          incoming.resume();
          return;
        }
        // The connection may have closed meanwhile, and its counts would then never decrease.
        if (incoming.socket.destroyed) return;
        const report = () => readReport(incoming, url, isNamed(), activeConfig().config.teams);
        beginDecision('http', incoming, response, url, report, undefined);
      };
      // Node notes a moment later that the request is complete. A response to an incomplete one closes the connection.
      queueMicrotask(() => {
        const admitted = admits('http', 'http', headerValues(incoming.rawHeaders, SECRET_HEADER));
        if (admitted instanceof Promise) void admitted.then(proceed);
        else proceed(admitted);
      });
    });
    tracker.idleClosers.push(createIdleCloser(app.server));
    return limited('http', listen, app, app.server);
  }

  async function createGrpc(section: NonNullable<Decisions['grpc']>) {
    const { app, isIdle } = (await import('./grpc.ts')).createGrpc(first, section, {
      admits: (...access) => admits('grpc', ...access),
      beginDecision,
      isNamed,
      isReady,
      isLeaving: () => tracker.isLeaving,
      afterDecision: { ...options.pipeline, logger },
    });
    app.server.on('sessionError', (error: NodeJS.ErrnoException) => {
      // Others are connections that the data plane lost.
      if (error.code !== 'ERR_HTTP2_ERROR') return;
      logger.warn({ err: error }, 'decisions.grpc: received bytes that are not HTTP/2: set HTTP/2 in the data plane');
    });
    return limited('grpc', section.listen, app, () => [isIdle]);
  }

  function limited(name: Name, listen: Listen, app: FastifyInstance, unused: ConnectionLimitOptions['http']) {
    const key = `decisions.${name}.listen`;
    const limits = () => activeConfig().config.limits;
    const { counts: connections } = limitCallers(app.server, key, unused, limits, logger);
    return { name, app, connections, open: () => openListener(app, listen, key, first.socketMode, certificates) };
  }

  return {
    async open(): Promise<Partial<Record<Name, string>>> {
      const opened: Partial<Record<Name, string>> = {};
      for (const { name, open } of listeners) opened[name] = await open();
      return opened;
    },
    close: async (): Promise<void> => {
      await Promise.all(listeners.map(({ app }) => app.close()));
    },
    connections: () => listeners.reduce((sum, { connections }) => sum + connections.open, 0),
  };
}

type Name = 'http' | 'grpc';
