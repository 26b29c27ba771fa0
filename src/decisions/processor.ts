import { randomUUID } from 'node:crypto';
import type { CambistError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import { type DiagnosisOptions, explainRefusal, RefusedResponse, signInWanted } from '../proxy/backend-failure.ts';
import { failureResponse } from '../proxy/fail-request.ts';
import { followUpOf } from '../proxy/follow-up.ts';
import { headerValues, type RawHeaders } from '../proxy/headers.ts';
import type { OwnResponse } from '../proxy/own-response.ts';
import type { ProxyRequest } from '../proxy/proxy-request.ts';
import type { RequestRecord } from '../proxy/request-record.ts';
import type { Broker } from '../tokens/broker.ts';
import { obtainSecret } from '../tokens/route-secret.ts';
import { type AskedRequest, removedBy } from './check-messages.ts';
import { GRPC, type GrpcCall, GrpcError } from './grpc-call.ts';
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

export interface ProcessorOptions extends DiagnosisOptions {
  readonly broker: Broker;
  readonly observer: ProxyObserver;
  readonly logger: Logger;
}

/** A request that the data plane may send, until its response begins. */
interface Forwarded {
  readonly asked: AskedRequest;
  /** The request of the last decision. */
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
    return dropRefused(request.record, headers, hasSecondToken, options);
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

/** A data plane has the body. */
const BODY = { content: null, replay: () => undefined };

/**
 * Drops the token of a request that a data plane sent, and that its backend refused with 401. `proxy/upstream-call.ts` does the same
 * for its own attempts.
 * @param hasSecondToken the request was sent with another token before
 * @returns the error for the caller. Undefined: the request had no token, and the 401 is for the caller
 */
async function dropRefused(
  { route, session, token }: RequestRecord,
  headers: RawHeaders,
  hasSecondToken: boolean,
  options: Pick<ProcessorOptions, 'broker' | 'diagnoses'>,
): Promise<CambistError | undefined> {
  if (route === undefined || session === undefined || token === undefined) return undefined;
  const next = followUpOf({ prepared: { route, session, body: BODY }, token, hasSecondToken }, 401, headers, false);
  if (next.kind === 'sign_in') return signInWanted(route, next.authentication, token);
  const refused = new RefusedResponse(token, headers);
  refused.end();
  let ending = 'and the next request gets another one';
  if (next.kind === 'fail') ending = next.ending;
  else if (next.kind === 'retry_with_new_secret') await obtainSecret(route, session, true);
  else if (!options.broker.dropRefused(route, session, token)) ending = 'as it refused the previous one a moment ago';
  return explainRefusal(route, ending, refused, options);
}
