import { type IncomingMessage, METHODS as NODE_METHODS, type ServerResponse } from 'node:http';
import type { Counts } from '../observability/counts.ts';
import type { DecisionProtocol } from '../observability/decision-counts.ts';
import { ARRIVAL, type Arrived, setArrival } from '../proxy/arrival.ts';
import { failRequest } from '../proxy/fail-request.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import { createPipeline, type PipelineOptions } from '../proxy/pipeline.ts';
import type { ProxyRequest } from '../proxy/proxy-request.ts';
import type { RequestTracker } from '../proxy/request-tracker.ts';
import { DECIDING } from './decide.ts';
import { type Reported, unclear } from './report.ts';

export type BeginDecision = ReturnType<typeof createBeginDecision>;

/** Creates the function that begins the request that a data plane reports, and runs its steps. */
export function createBeginDecision(options: PipelineOptions, tracker: RequestTracker, counts: Counts) {
  const pipeline = createPipeline(options, DECIDING);

  /** @param shape of the response. By default, that of the dialect */
  return function beginDecision(
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
  };
}

/** The methods that Node accepts in a request to the proxy, except CONNECT. */
const METHODS: ReadonlySet<string> = new Set(NODE_METHODS.filter((method) => method !== 'CONNECT'));

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
