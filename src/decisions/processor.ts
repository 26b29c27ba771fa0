import { randomUUID } from 'node:crypto';
import type { Logger } from '../observability/logger.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import { failureResponse } from '../proxy/fail-request.ts';
import { headerValues } from '../proxy/headers.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import type { ProxyRequest } from '../proxy/proxy-request.ts';
import { type RefusalOptions, refuseToken } from '../proxy/refusal.ts';
import { type AskedRequest, removedBy } from './check-messages.ts';
import { GRPC, type GrpcCall, GrpcError } from './grpc-server.ts';
import {
  awaitsBody,
  type ProcessingMessage,
  processedRequest,
  ROUTE_HEADER,
  rawHeadersOf,
  readProcessing,
  writeAllowed,
  writeImmediate,
  writeUnchanged,
} from './process-messages.ts';

/** The decision about a request, and the request as the pipeline left it. */
export interface Decided {
  readonly response: OwnResponse;
  readonly request: ProxyRequest;
}

export interface ProcessorOptions extends RefusalOptions {
  readonly observer: ProxyObserver;
  readonly logger: Logger;
}

/** A request that the data plane may send, until its response begins. */
interface Forwarded {
  readonly asked: AskedRequest;
  /** Of the last decision. */
  request: ProxyRequest;
  attempts: number;
  hasSecondToken: boolean;
  /** The response of the last attempt is that of its decision. */
  isRefused: boolean;
}

/** Initial metadata by which the filter of a cluster says that it is one. */
const FILTER_HEADER = 'x-cambist-filter';

/**
 * Serves `envoy.service.ext_proc.v3.ExternalProcessor/Process`. The filter of a listener makes one call for each request: it asks for the
 * decision, and reports the response. The filter of a cluster makes one for each attempt to send the request: from the second on, a new
 * decision replaces the token. Envoy takes a call that ends with OK for consent, so a call ends with OK only after its decision.
 */
export function createProcessor(
  ask: (call: GrpcCall, asked: AskedRequest) => Promise<Decided>,
  { logger, observer, ...options }: ProcessorOptions,
): (call: GrpcCall) => AsyncIterable<Buffer> {
  const inFlight = new Map<string, Forwarded>();

  async function* decide(call: GrpcCall): AsyncGenerator<Buffer, void> {
    const next = reader(call);
    const first = await next();
    let last = first;
    if (first !== undefined && awaitsBody(first)) {
      yield writeUnchanged('request_headers');
      last = await next();
      if (last?.kind !== 'request_body' && last?.kind !== 'response_headers') throw unexpected(last);
    }
    if (first === undefined || last === undefined) throw unexpected(last);
    // Envoy itself responds, because a limit or another filter refused the request.
    if (last.kind === 'response_headers') return yield writeUnchanged(last.kind);
    const asked = processedRequest(first, last.body, call.headers[ROUTE_HEADER]);
    const { response, request } = await ask(call, asked);
    // A response would have no effect.
    if (first.isObserved) throw unexpected(first);
    const removed = removedBy(response);
    if (removed === undefined) return yield writeImmediate(response);
    const id = randomUUID();
    const forwarded = { asked, request, attempts: 0, hasSecondToken: false, isRefused: false };
    inFlight.set(id, forwarded);
    try {
      yield writeAllowed(last === first ? 'request_headers' : 'request_body', response, removed, id);
      const result = await next();
      if (result?.kind === 'response_headers') yield await respond(forwarded, result);
      else if (result !== undefined) throw unexpected(result);
    } finally {
      inFlight.delete(id);
    }
  }

  async function* attempt(call: GrpcCall): AsyncGenerator<Buffer, void> {
    const next = reader(call);
    const first = await next();
    const forwarded = first?.kind === 'request_headers' ? inFlight.get(first.decision) : undefined;
    // It may have the caller's own token.
    if (forwarded === undefined) throw unexpected(first);
    forwarded.attempts += 1;
    if (forwarded.attempts === 1) {
      yield writeUnchanged('request_headers');
    } else {
      const { response, request } = await ask(call, forwarded.asked);
      const removed = removedBy(response);
      forwarded.isRefused = removed === undefined;
      if (removed === undefined) return yield writeImmediate(response);
      const { token, route } = forwarded.request.record;
      const hasOther = request.record.token !== token;
      if (route !== undefined && hasOther) observer.upstreamRetried(route);
      forwarded.hasSecondToken ||= hasOther;
      forwarded.request = request;
      yield writeAllowed('request_headers', response, removed);
    }
    const result = await next();
    if (result === undefined) return;
    if (result.kind !== 'response_headers') throw unexpected(result);
    await refused(forwarded, result);
    yield writeUnchanged(result.kind);
  }

  /** A backend's 401 to a token is not for the caller. */
  async function respond(forwarded: Forwarded, result: ProcessingMessage): Promise<Buffer> {
    const error = forwarded.isRefused ? undefined : await refused(forwarded, result);
    if (error === undefined) return writeUnchanged('response_headers');
    const { request } = forwarded;
    logger.warn({ request_id: request.record.id, err: error }, 'the backend refused a token');
    return writeImmediate(await failureResponse(request, error));
  }

  async function refused({ request, hasSecondToken }: Forwarded, result: ProcessingMessage) {
    const headers = rawHeadersOf(result);
    if (headerValues(headers, ':status')[0] !== '401') return undefined;
    return refuseToken(request.record, headers, hasSecondToken, options);
  }

  function unexpected(message: ProcessingMessage | undefined): GrpcError {
    const why =
      message === undefined ? 'it ended early' : `${message.kind ?? 'a message'} is unknown or not expected here`;
    logger.warn({}, `refused a call of ext_proc, because ${why}`);
    return new GrpcError(GRPC.failedPrecondition, why);
  }

  return (call) => (call.headers[FILTER_HEADER] === 'upstream' ? attempt(call) : decide(call));
}

/** @returns undefined where the data plane sends no more */
function reader(call: GrpcCall): () => Promise<ProcessingMessage | undefined> {
  const messages = call.messages()[Symbol.asyncIterator]();
  return async () => {
    const { value, done } = await messages.next();
    return done === true ? undefined : readProcessing(value);
  };
}
