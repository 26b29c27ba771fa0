import { timingSafeEqual } from 'node:crypto';
import { type IncomingMessage, METHODS as NODE_METHODS, type ServerResponse } from 'node:http';
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
import type { DecisionProtocol } from '../observability/decision-counts.ts';
import type { Logger } from '../observability/logger.ts';
import type { ActiveConfig } from '../proxy/active-config.ts';
import { ARRIVAL, type Arrived, setArrival } from '../proxy/arrival.ts';
import { failRequest } from '../proxy/fail-request.ts';
import { headerValues } from '../proxy/headers.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import { createPipeline, type PipelineOptions } from '../proxy/pipeline.ts';
import type { ProxyRequest } from '../proxy/proxy-request.ts';
import { createHttpServer } from '../proxy/proxy-server.ts';
import type { RequestTracker } from '../proxy/request-tracker.ts';
import { currentCredential } from '../secrets/credential.ts';
import { oncePerSecret, type Secret } from '../secrets/secret.ts';
import { DECIDING } from './decide.ts';
import { type Reported, readReport, SECRET_HEADER, unclear } from './report.ts';

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
  const pipeline = createPipeline(options.pipeline, DECIDING);
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
        decide('http', incoming, response, url, report, undefined);
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
      decide,
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

  /** A client without the secret learns nothing, not even which routes there are. */
  function admits(name: Name, protocol: DecisionProtocol, sent: readonly string[]): boolean | Promise<boolean> {
    // The listener stays open until a restart, so a reload does not take its secret away.
    const secret = current()[name]?.secret ?? first.decisions[name]?.secret;
    if (secret === undefined) return true;
    const refuse = (why: string, error?: unknown): false => {
      logger.warn(error === undefined ? {} : { err: error }, `refused a decision: ${why}`);
      counts.decided(protocol);
      return false;
    };
    const compare = (expected: Secret): boolean =>
      isSecret(sent, expected) || refuse(`${SECRET_HEADER} is missing or is not the configured secret`);
    const unreadable = (error: unknown): false => refuse(`the secret of decisions.${name} cannot be read`, error);
    try {
      const reading = currentCredential(secret, `secret of decisions.${name}`);
      return reading instanceof Promise ? reading.then(compare, unreadable) : compare(reading);
    } catch (error) {
      return unreadable(error);
    }
  }

  /** @param shape of the response. By default, that of the dialect */
  function decide(
    protocol: DecisionProtocol,
    incoming: IncomingMessage,
    response: ServerResponse,
    url: string,
    read: () => Reported,
    shape: ProxyRequest['shape'],
  ): ProxyRequest {
    if ((incoming.socket as Arrived)[ARRIVAL] === undefined) setArrival(incoming.socket, 'decision', undefined);
    const begin = (asked: string): ProxyRequest => {
      const request = tracker.begin(incoming, response, asked);
      request.onClosed(() => counts.decided(protocol, request.record.responseStart));
      return request;
    };
    let report: Reported;
    try {
      report = read();
      if (!METHODS.has(report.method)) throw unclear('its method is unknown, or CONNECT');
    } catch (error) {
      const request = begin(url);
      request.shape = shape;
      failRequest(request, error);
      return request;
    }
    // From here on, the request is the one that the data plane reports.
    incoming.method = report.method;
    incoming.rawHeaders = report.rawHeaders;
    const request = begin(report.url);
    request.shape = shape ?? (report.dialect === 'auth-request' ? forAuthRequest : undefined);
    request.reported = report;
    void pipeline(request);
    return request;
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

/** The methods that Node accepts in a request to the proxy, except CONNECT. */
const METHODS: ReadonlySet<string> = new Set(NODE_METHODS.filter((method) => method !== 'CONNECT'));

const bytesOf = oncePerSecret((secret) => Buffer.from(secret.trim()));

/** Takes the same time for every text of the right length. A digest would hide the length too, at a tenth of the CPU of a decision. */
function isSecret([sent = '', ...more]: readonly string[], secret: Secret): boolean {
  const expected = bytesOf(secret);
  const bytes = Buffer.from(sent, 'latin1');
  // A file of white space alone has no secret.
  if (more.length > 0 || expected.length === 0 || bytes.length !== expected.length) return false;
  return timingSafeEqual(bytes, expected);
}

/** nginx takes 401 and 403 for a refusal, and everything else for a fault. It drops the body. */
function forAuthRequest(response: OwnResponse, code: string | undefined): OwnResponse {
  if (response.status === 200) return response;
  const headers = {
    ...response.headers,
    'x-cambist-status': String(response.status),
    ...(code !== undefined && { 'x-cambist-error': code }),
  };
  return { ...response, status: response.status === 401 ? 401 : 403, headers };
}
