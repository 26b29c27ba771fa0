import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import type { Logger } from '../observability/logger.ts';
import { CALLER_GONE, type Cutter, type Outcome, type ProxyObserver } from '../observability/proxy-observer.ts';
import type { Tracing } from '../observability/tracing.ts';
import { callerRequestId } from './caller-ids.ts';
import type { CredentialHeaders } from './caller-tokens.ts';
import { ownMetadata } from './caller-view.ts';
import type { Passage } from './passage.ts';
import type { Relay } from './relay.ts';
import { logRequest } from './request-line.ts';
import { beginSpan, endSpan, nameSpan } from './request-span.ts';
import { asCambistError, describeProblem, type OwnAnswer } from './rescue.ts';

/** All requests under way: begins them, answers them, and tells of each end once, in a metric and a log line. */
export interface Traffic {
  /** @throws nothing; a request that may not come in is refused by `assertOpen` */
  begin(request: IncomingMessage, response: ServerResponse, url: string): Passage;
  /** @throws {CambistError} ERR_SHUTTING_DOWN, ERR_OVERLOADED */
  assertOpen(maxInFlight: number): void;
  routed(passage: Passage, route: Route): void;
  relay(passage: Passage, relay: Relay): void;
  /** What cambist says by itself, and no problem. */
  answer(passage: Passage, answer: OwnAnswer): void;
  /** The connection is a WebSocket from now on. @param headers of the upstream's 101, as the caller gets them */
  switched(passage: Passage, headers: readonly string[]): void;
  /** The connection is a tunnel from now on. */
  tunnelled(passage: Passage, authority: string): void;
  problem(passage: Passage, error: unknown): void;
  /** Takes no new request from now on; settles when none is under way. */
  drain(): Promise<void>;
  /** How many requests are, and how many of them are streams or WebSockets; as the log has it. */
  underWay(): { in_flight: number; open_streams: number };
  /** Whatever ends from now on, cambist has cut. */
  cut(): void;
}

export interface TrafficOptions {
  readonly clock: Clock;
  readonly observer: ProxyObserver;
  readonly logger: Logger;
  /** The headers that may carry a caller's token; asked for each request. */
  readonly credentialHeaders: () => CredentialHeaders;
  /** Is the line of a request that went well to be written? Asked for each. */
  readonly keepLine: () => boolean;
  /** Undefined where tracing is off. */
  readonly tracing: Tracing | undefined;
}

const SWITCHING = 101;

export function createTraffic(options: TrafficOptions): Traffic {
  const { clock, observer, logger, keepLine, tracing } = options;
  let inFlight = 0;
  let streams = 0;
  let draining = false;
  let cutting = false;
  let onDrained: (() => void) | undefined;

  function answered(passage: Passage, status: number, outcome: Outcome): void {
    const durationMs = clock.monotonicMs() - passage.startedMs;
    passage.answer = { status, outcome, durationMs };
    observer.requestAnswered(passage.route, {
      method: passage.request.method ?? '',
      status,
      outcome,
      error: passage.error?.code,
      durationMs,
    });
  }

  function end(passage: Passage): void {
    passage.gone = true;
    // Before what is left is broken off here, which the relay hears as it would hear of an upstream that does so.
    passage.cutBy = cutBy(passage);
    passage.abort?.();
    if (passage.answer === undefined) answered(passage, CALLER_GONE, 'cancelled');
    if (passage.route !== undefined) {
      observer.requestEnded(passage.route);
      if (passage.cutBy !== undefined) observer.requestCut(passage.route, passage.cutBy);
    }
    logRequest(logger, passage, clock.monotonicMs() - passage.startedMs, keepLine);
    endSpan(passage);
    inFlight -= 1;
    if (inFlight === 0) onDrained?.();
  }

  function cutBy({ relay, response }: Passage): Cutter | undefined {
    if (response.writableFinished) return undefined;
    if (cutting) return 'shutdown';
    if (relay === undefined) return undefined;
    return relay.hasFailed() ? 'upstream' : 'caller';
  }

  /** Until the request ends. */
  function stream({ response }: Passage, route: Route): void {
    streams += 1;
    observer.streamOpened(route);
    response.once('close', () => {
      streams -= 1;
      observer.streamClosed(route);
    });
  }

  function write({ request, response }: Passage, { status, headers, body }: OwnAnswer): void {
    // What is left of the request will not be read; and a proxy that ends wants no more of them.
    const connection = request.complete && !draining ? {} : { connection: 'close' };
    response.writeHead(status, { ...headers, ...connection, 'content-length': Buffer.byteLength(body) });
    response.end(body);
  }

  return {
    begin(request, response, url) {
      const credentialHeaders = options.credentialHeaders();
      const passage: Passage = {
        id: callerRequestId(request.rawHeaders, credentialHeaders) ?? randomUUID(),
        url,
        request,
        response,
        credentialHeaders,
        startedMs: clock.monotonicMs(),
        target: undefined,
        route: undefined,
        cache: undefined,
        exchangeMs: undefined,
        stepUp: undefined,
        span: tracing && beginSpan(tracing, request, credentialHeaders),
        leg: undefined,
        error: undefined,
        answer: undefined,
        relay: undefined,
        cutBy: undefined,
        gone: false,
        abort: undefined,
      };
      inFlight += 1;
      response.once('close', () => end(passage));
      // Of a pipelined answer that still waits for its turn, Node says nothing when the connection ends.
      if (response.socket === null) {
        request.socket.setMaxListeners(0);
        request.socket.once('close', () => {
          if (!passage.gone) response.emit('close');
        });
      }
      return passage;
    },
    assertOpen(maxInFlight) {
      if (draining) throw new CambistError('ERR_SHUTTING_DOWN', 'the proxy is shutting down');
      if (inFlight > maxInFlight) {
        throw new CambistError('ERR_OVERLOADED', 'limits.max_in_flight is reached: raise it, or run more proxies');
      }
    },
    routed(passage, route) {
      passage.route = route;
      nameSpan(passage, route);
      observer.requestRouted(route);
    },
    relay(passage, relay) {
      const { response, route } = passage;
      passage.relay = relay;
      answered(passage, relay.status, 'forwarded');
      if (route !== undefined && isEventStream(relay)) stream(passage, route);
      relay.start(response);
    },
    answer(passage, answer) {
      if (passage.gone || passage.response.headersSent) return;
      answered(passage, answer.status, 'answered');
      write(passage, answer);
    },
    switched(passage, headers) {
      const { response, route } = passage;
      answered(passage, SWITCHING, 'forwarded');
      if (route !== undefined) stream(passage, route);
      response.writeHead(SWITCHING, [...headers, 'connection', 'upgrade', 'upgrade', 'websocket']);
      response.flushHeaders();
    },
    tunnelled(passage, authority) {
      answered(passage, 200, 'forwarded');
      observer.tunnelOpened(authority);
      passage.response.once('close', () => observer.tunnelClosed(authority));
    },
    problem(passage, caught) {
      if (passage.gone || passage.response.headersSent) return;
      const error = asCambistError(caught);
      passage.error = error;
      const metadata =
        error.status === 401 && passage.route !== undefined ? ownMetadata(passage, passage.route) : undefined;
      const problem = describeProblem(error, passage.id, metadata);
      answered(passage, problem.status, problem.status < 500 ? 'refused' : 'failed');
      write(passage, problem);
    },
    drain() {
      draining = true;
      return new Promise((resolve) => {
        onDrained = resolve;
        if (inFlight === 0) resolve();
      });
    },
    underWay: () => ({ in_flight: inFlight, open_streams: streams }),
    cut() {
      cutting = true;
    },
  };
}

function isEventStream(relay: Relay): boolean {
  return relay.header('content-type')?.toLowerCase().startsWith('text/event-stream') === true;
}
