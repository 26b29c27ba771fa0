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
import { setArrival } from '../proxy/arrival.ts';
import { failRequest } from '../proxy/fail-request.ts';
import { headerValues } from '../proxy/headers.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import { createPipeline, type PipelineOptions } from '../proxy/pipeline.ts';
import type { ProxyRequest } from '../proxy/proxy-request.ts';
import { createHttpServer } from '../proxy/proxy-server.ts';
import type { RequestTracker } from '../proxy/request-tracker.ts';
import { type CredentialSource, readCredential } from '../secrets/credential.ts';
import { createDeciding } from './decide.ts';
import { type Dialect, readReport, SECRET_HEADER } from './report.ts';

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
  const app = createHttpServer(listen, { activeConfig, logger }, (incoming, response, url) => {
    void decide(incoming, response, url);
  });
  const connections = limitConnections(app.server, {
    max: () => activeConfig().config.limits.maxConnections,
    http: app.server,
    onDropped: (count) =>
      logger.warn({}, `${reachedLimit(activeConfig().config.limits)}; dropped ${count} connections of the data plane`),
  });
  logAcceptErrors(app.server, 'decisions.http.listen', logger);

  async function decide(incoming: IncomingMessage, response: ServerResponse, url: string): Promise<void> {
    const { secret } = current().http;
    if (secret !== undefined && !(await hasSecret(incoming, secret))) {
      response.writeHead(403, { 'content-length': 0, 'cache-control': 'no-store' }).end();
      incoming.resume();
      return;
    }
    setArrival(incoming.socket, 'decision', undefined);
    let report: ReturnType<typeof readReport>;
    try {
      report = readReport(incoming, url, current().routesBy === 'name');
    } catch (error) {
      failRequest(tracker.begin(incoming, response, url), error);
      return;
    }
    // From here on, the request is the one that the data plane reports.
    incoming.method = report.method;
    incoming.rawHeaders = [...report.rawHeaders];
    const request = tracker.begin(incoming, response, report.url);
    request.shape = shapes[report.dialect];
    if (report.routeName !== undefined) names.set(request, report.routeName);
    await pipeline(request);
  }

  /** A client without the secret learns nothing, not even which routes there are. */
  async function hasSecret({ rawHeaders }: IncomingMessage, secret: CredentialSource): Promise<boolean> {
    try {
      const expected = await readCredential(secret, 'secret of decisions.http');
      const [sent = '', ...more] = headerValues(rawHeaders, SECRET_HEADER);
      if (more.length === 0 && isSame(sent, expected.reveal().trim())) return true;
      logger.warn({}, `refused a decision: ${SECRET_HEADER} is missing or is not the configured secret`);
    } catch (error) {
      logger.error({ err: loggedError(error) }, 'refused a decision: the secret of decisions.http cannot be read');
    }
    return false;
  }

  return {
    open: () => openListener(app, listen, 'decisions.http.listen', first.socketMode, certificates),
    close: async (): Promise<void> => app.close(),
    connections: () => connections.counts,
  };
}

/** Compares in constant time: the digests have one length. */
function isSame(one: string, other: string): boolean {
  return timingSafeEqual(hash('sha256', one, 'buffer'), hash('sha256', other, 'buffer'));
}

/** nginx takes 401 and 403 for a refusal, and everything else for a fault. It drops the body. */
const shapes: Readonly<
  Record<Dialect, ((response: OwnResponse, code: string | undefined) => OwnResponse) | undefined>
> = {
  'ext-authz': undefined,
  'forward-auth': undefined,
  'auth-request': (response, code) =>
    code === undefined
      ? response
      : {
          ...response,
          status: response.status === 401 ? 401 : 403,
          headers: { ...response.headers, 'x-cambist-error': code },
        },
};
