import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '../clock/clock.ts';
import type { Route } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { setAwaitingBody } from '../listeners/idle-connection.ts';
import type { Logger } from '../observability/logger.ts';
import type { ProxyObserver } from '../observability/proxy-observer.ts';
import type { Tracing } from '../observability/tracing.ts';
import type { ActiveConfig } from './active-config.ts';
import type { BodyWait } from './body-wait.ts';
import type { OpenRequests } from './open-requests.ts';
import { createPipelining, type Pipelining } from './pipelining.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { RecentDecisions } from './recent-decisions.ts';
import type { RequestAudit } from './request-audit.ts';
import type { StallWatch } from './stall-watch.ts';
import { TrackedRequest } from './tracked-request.ts';
import { Tunnels } from './tunnels.ts';
import { UpstreamShares } from './upstream-share.ts';

export interface RequestTrackerOptions {
  readonly activeConfig: () => ActiveConfig;
  readonly clock: Clock;
  readonly observer: ProxyObserver;
  readonly logger: Logger;
  /** Returns whether the log line of a successful request is written. Asked for each. */
  readonly keepLine: () => boolean;
  /** Undefined where tracing is off. */
  readonly tracing: Tracing | undefined;
  readonly watch: StallWatch;
  readonly decisions: RecentDecisions;
  /** Undefined without `signals`. */
  readonly openRequests?: OpenRequests | undefined;
  /** Undefined where the audit trail is off. */
  readonly audit: RequestAudit | undefined;
}

/** All requests in flight. Reports the end of each request once: in a metric, a log line and a span. */
export class RequestTracker {
  readonly options: RequestTrackerOptions;
  readonly #pipelining: Pipelining;
  readonly shares = new UpstreamShares();
  readonly tunnels = new Tunnels();
  inFlight = 0;
  openStreams = 0;
  /** Each response closes its connection from now on. */
  isLeaving = false;
  isDraining = false;
  /** Closes the connections that have no request. Undefined before the listener is created. */
  closeIdle: (() => void) | undefined;
  /** Requests that end from now on were aborted by the shutdown. */
  isClosing = false;
  /** The oldest first. */
  readonly #waiting = new Set<BodyWait<TrackedRequest>>();
  /** Requests that gave their place to another, and have not ended yet. */
  readonly #displaced = new Set<TrackedRequest>();
  #onDrained: (() => void) | undefined;
  #drained: Promise<void> | undefined;

  constructor(options: RequestTrackerOptions) {
    this.options = options;
    this.#pipelining = createPipelining(options.watch, options.logger);
  }

  begin(incoming: IncomingMessage, response: ServerResponse, url: string): ProxyRequest {
    const request = new TrackedRequest(this, incoming, response, url);
    this.inFlight += 1;
    response.once('close', () => request.end());
    if (response.socket === null) this.#pipelining.add(request);
    return request;
  }

  /** @throws {CambistError} ERR_SHUTTING_DOWN, ERR_OVERLOADED, ERR_AUDIT_UNAVAILABLE */
  assertCapacity(maxInFlight: number): void {
    this.options.audit?.assertWritable();
    if (this.isDraining) throw new CambistError('ERR_SHUTTING_DOWN', 'the proxy is shutting down');
    if (this.inFlight - this.#displaced.size > maxInFlight && !this.#displace()) {
      throw new CambistError('ERR_OVERLOADED', 'limits.max_in_flight is reached: raise it, or run more proxies');
    }
  }

  /** The request gives way to a new one while it waits for its body, and is refused if too little of the body arrives. */
  startWaiting(wait: BodyWait<TrackedRequest>): void {
    this.#waiting.add(wait);
    this.options.watch.add(wait);
    // Behind another response, the connection is in use.
    if (wait.request.response.socket !== null) setAwaitingBody(wait.socket, true);
  }

  stopWaiting(wait: BodyWait<TrackedRequest>): void {
    this.#waiting.delete(wait);
    this.options.watch.remove(wait);
    setAwaitingBody(wait.socket, false);
  }

  /** Callers that send incomplete requests must not keep others out. */
  #displace(): boolean {
    const [oldest] = this.#waiting;
    if (oldest === undefined) return false;
    this.stopWaiting(oldest);
    this.#displaced.add(oldest.request);
    const message =
      'limits.max_in_flight is reached, and a new request took the place of this one, which was incomplete';
    oldest.refuse(new CambistError('ERR_OVERLOADED', `${message}: raise the limit, or run more proxies`));
    return true;
  }

  /** Counts an open stream. @returns a function to call when the stream ends */
  streamOpened(route: Route): () => void {
    const { observer } = this.options;
    this.openStreams += 1;
    observer.streamOpened(route);
    return () => {
      this.openStreams -= 1;
      observer.streamClosed(route);
    };
  }

  /** @param request undefined for a tunnel of another listener */
  ended(request?: TrackedRequest): void {
    this.inFlight -= 1;
    if (request !== undefined) this.#displaced.delete(request);
    if (this.inFlight === 0) this.#onDrained?.();
    if (this.isDraining) this.closeIdle?.();
  }

  /** Accepts no new request from now on, and closes idle connections. Settles when no request is in flight. */
  drain(): Promise<void> {
    this.isLeaving = true;
    this.isDraining = true;
    this.closeIdle?.();
    this.#drained ??= new Promise((resolve) => {
      this.#onDrained = resolve;
      if (this.inFlight === 0) resolve();
    });
    return this.#drained;
  }
}
