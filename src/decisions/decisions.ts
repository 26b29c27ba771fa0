import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Config } from '../config/config.ts';
import type { Decisions } from '../config/decisions.ts';
import { limitConnections } from '../listeners/limit-connections.ts';
import { openListener } from '../listeners/listen.ts';
import { logAcceptErrors, reachedLimit } from '../listeners/open-files.ts';
import type { ListenerCertificates } from '../listeners/tls.ts';
import { loggedError } from '../observability/logged-error.ts';
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
import { createDeciding } from './decide.ts';
import { type Dialect, type Reported, readReport, SECRET_HEADER } from './report.ts';

interface DecisionOptions {
  readonly pipeline: PipelineOptions;
  readonly activeConfig: () => ActiveConfig;
  readonly tracker: RequestTracker;
  readonly certificates: ListenerCertificates;
  readonly logger: Logger;
}

/** The listener that decides for a data plane, which forwards the requests itself. */
export type DecisionSide = ReturnType<typeof createDecisions>;

export function createDecisions(first: Config & { readonly decisions: Decisions }, options: DecisionOptions) {
  const { activeConfig, tracker, certificates, logger } = options;
  const { listen } = first.decisions.http;
  const current = () => activeConfig().config.decisions ?? first.decisions;
  const names = new WeakMap<ProxyRequest, string>();
  const pipeline = createPipeline(
    options.pipeline,
    createDeciding(({ request }) => names.get(request)),
  );
  const app = createHttpServer(listen, { activeConfig, logger }, take);
  const connections = limitConnections(app.server, {
    max: () => activeConfig().config.limits.maxConnections,
    http: app.server,
    onDropped: (count) =>
      logger.warn({}, `${reachedLimit(activeConfig().config.limits)}; dropped ${count} connections of the data plane`),
  });
  logAcceptErrors(app.server, 'decisions.http.listen', logger);

  function take(incoming: IncomingMessage, response: ServerResponse, url: string): void {
    const { secret } = current().http;
    if (secret === undefined) {
      decide(incoming, response, url);
      return;
    }
    (async () => currentCredential(secret, 'secret of decisions.http'))().then(
      (expected) => {
        if (hasSecret(incoming, expected)) decide(incoming, response, url);
        else refuse(incoming, response, `${SECRET_HEADER} is missing or is not the configured secret`);
      },
      (error: unknown) => refuse(incoming, response, 'the secret of decisions.http cannot be read', error),
    );
  }

  /** A client without the secret learns nothing, not even which routes there are. */
  function refuse(incoming: IncomingMessage, response: ServerResponse, why: string, error?: unknown): void {
    logger.warn(error === undefined ? {} : { err: loggedError(error) }, `refused a decision: ${why}`);
    response.writeHead(403, { 'content-length': 0, 'cache-control': 'no-store' }).end();
    incoming.resume();
  }

  function decide(incoming: IncomingMessage, response: ServerResponse, url: string): void {
    if ((incoming.socket as Arrived)[ARRIVAL] === undefined) setArrival(incoming.socket, 'decision', undefined);
    let report: Reported;
    try {
      report = readReport(incoming, url, current().routesBy === 'name');
    } catch (error) {
      failRequest(tracker.begin(incoming, response, url), error);
      return;
    }
    // From here on, the request is the one that the data plane reports.
    incoming.method = report.method;
    incoming.rawHeaders = report.rawHeaders;
    const request = tracker.begin(incoming, response, report.url);
    request.shape = shapes[report.dialect];
    if (report.routeName !== undefined) names.set(request, report.routeName);
    void pipeline(request);
  }

  return {
    open: () => openListener(app, listen, 'decisions.http.listen', first.socketMode, certificates),
    close: async (): Promise<void> => app.close(),
    connections: () => connections.counts,
  };
}

const digestOf = (text: string) => hash('sha256', text, 'buffer');
const expectedDigest = oncePerSecret((secret) => digestOf(secret.trim()));

/** Compares in constant time: the digests have one length. */
function hasSecret({ rawHeaders }: IncomingMessage, expected: Secret): boolean {
  const [sent, ...more] = headerValues(rawHeaders, SECRET_HEADER);
  return sent !== undefined && more.length === 0 && timingSafeEqual(digestOf(sent), expectedDigest(expected));
}

/** nginx takes 401 and 403 for a refusal, and everything else for a fault. It drops the body. */
const shapes: Readonly<
  Record<Dialect, ((response: OwnResponse, code: string | undefined) => OwnResponse) | undefined>
> = {
  'ext-authz': undefined,
  'forward-auth': undefined,
  'auth-request': (response, code) =>
    response.status === 200
      ? response
      : {
          ...response,
          status: response.status === 401 ? 401 : 403,
          headers: {
            ...response.headers,
            'x-cambist-status': String(response.status),
            ...(code !== undefined && { 'x-cambist-error': code }),
          },
        },
};
