import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Route } from '../config/route.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
import type { AbortedBy, Outcome } from '../observability/proxy-observer.ts';
import type { RequestTarget } from '../routing/request-target.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { Session } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import type { ActiveConfig } from './active-config.ts';
import type { AgentShares } from './agent-shares.ts';
import { ARRIVAL, type Arrival, type Arrived, type ReportedBy } from './arrival.ts';
import { callerRequestId } from './caller-tokens.ts';
import { type OwnResponse, writeResponse } from './own-response.ts';
import type { RequestBody } from './request-body.ts';
import { RequestRecord } from './request-record.ts';
import { beginSpan, type ReportOptions, reportEnd, reportResponse, reportRoute } from './request-report.ts';
import { isEventStream, type ResponseRelay } from './response-relay.ts';
import { DEFAULT_STALL_MS } from './stall-watch.ts';
import { assertShare, type UpstreamShare, type UpstreamShares } from './upstream-share.ts';

/** The requests in flight, as each of them needs them: `request-tracker.ts`. */
export interface Tracker {
  readonly options: TrackerOptions;
  readonly shares: UpstreamShares;
  readonly agentShares: AgentShares;
  /** Each response closes its connection from now on. */
  readonly isLeaving: boolean;
  /** Requests that end from now on were aborted by the shutdown. */
  readonly isClosing: boolean;
  /** @throws {CambistError} ERR_SHUTTING_DOWN, ERR_OVERLOADED, ERR_AUDIT_UNAVAILABLE */
  assertCapacity(maxInFlight: number, connection?: Socket): void;
  waitForBody<T>(request: ProxyRequest, reading: Promise<T>): Promise<T>;
  /** Requests whose body streams to the upstream. */
  readonly uploads: Set<ProxyRequest>;
  /** Ends the oldest of them, where a limit is reached. @param share of the upstream whose limit that is */
  displaceUpload(share: UpstreamShare): boolean;
  /** Counts an open stream. @returns a function to call when the stream ends */
  streamOpened(route: Route): () => void;
  ended(request: ProxyRequest): void;
}

export interface TrackerOptions extends ReportOptions {
  readonly activeConfig: () => ActiveConfig;
  readonly openRequests?: OpenRequests | undefined;
}

/** The requests in flight by their callers' tokens, so that a revocation ends them. Exists only with `signals`. */
export interface OpenRequests {
  /**
   * Notes the caller of a request until it ends.
   * @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where its token was revoked since it was read
   */
  add(request: ProxyRequest, subject: Subject): void;
  /** Notes the callers of a request whose tokens are forwarded as they are. @throws {CambistError} as `add` */
  addForwarded(request: ProxyRequest): void;
  /** Ends a request whose caller's token was revoked since it was noted. @returns whether it did */
  endIfRevoked(request: ProxyRequest): boolean;
}

const SWITCHING_PROTOCOLS = 101;

/**
 * One request from its receipt to its end: the limits that it counts to, its response, and what ends it. The facts for its reports
 * are in its record.
 */
export class ProxyRequest {
  readonly record: RequestRecord;
  /** The request target as it was received. */
  readonly url: string;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  /** The way of its connection. Undefined: the agent's URL names cambist, or it sends cambist plain HTTP as a proxy. */
  readonly arrival: Arrival | undefined;
  /** The config that was active when the request arrived. It serves the request to its end. */
  readonly active: ActiveConfig;
  target: RequestTarget | undefined;
  abortUpstream: (() => void) | undefined;
  /** Gives responses of cambist's own the form that a data plane understands. */
  shape: ((response: OwnResponse, code: ErrorCode | undefined) => OwnResponse) | undefined;
  /** Set where a data plane reported the request. A property, because a WeakMap takes a tenth of a decision's CPU. */
  reported: ReportedBy | undefined;
  /** The caller's token was revoked. */
  isRevoked = false;
  /** An error response is being made. */
  isFailing = false;
  readonly #tracker: Tracker;
  #isOver = false;
  #isLast = false;
  #relay: ResponseRelay | undefined;
  #closeListeners: (() => void)[] | undefined;
  /** Undefined after the request gave its place to another. */
  share: UpstreamShare | undefined;

  constructor(tracker: Tracker, incoming: IncomingMessage, response: ServerResponse, url: string) {
    const { activeConfig, clock, tracing } = tracker.options;
    const active = activeConfig();
    const startedMs = clock.monotonicMs();
    this.#tracker = tracker;
    this.url = url;
    this.incoming = incoming;
    this.response = response;
    this.arrival = (incoming.socket as Arrived)[ARRIVAL];
    if (this.arrival !== undefined) this.arrival.isUsed = true;
    this.active = active;
    const id = callerRequestId(incoming.rawHeaders, active.credentialHeaders) ?? randomUUID();
    const wayIn = this.arrival?.wayIn ?? (url.startsWith('/') ? 'base_url' : 'proxy');
    const span = tracing && beginSpan(tracing, incoming, active.credentialHeaders);
    this.record = new RequestRecord(id, incoming, wayIn, active, span, startedMs);
  }

  /** The response is complete, the caller has left, or its token was revoked. */
  get isClosed(): boolean {
    return this.#isOver || this.isRevoked;
  }

  /** False once a response has begun, an error response is being made, or the request ended. */
  get mayFail(): boolean {
    return !this.#isOver && !this.response.headersSent && !this.isFailing;
  }

  /** The connection closes after the response, because the proxy shuts down or the agent has too many. */
  get isLastOfConnection(): boolean {
    return this.#isLast || this.#tracker.isLeaving;
  }

  closeAfterResponse(): void {
    this.#isLast = true;
  }

  /** @throws {CambistError} ERR_SHUTTING_DOWN, ERR_OVERLOADED, ERR_AUDIT_UNAVAILABLE */
  assertCapacity(): void {
    this.#tracker.assertCapacity(this.active.config.limits.maxInFlight, this.incoming.socket);
  }

  /** Refuses to count a request that ended while a step waited: its counts would never decrease. @throws {CambistError} */
  #assertOpen(): void {
    if (this.#isOver) throw new CambistError('ERR_UPSTREAM_UNREACHABLE', 'the caller left before its request was sent');
  }

  /** Counts the request to the agent that sent it. @throws {CambistError} ERR_OVERLOADED */
  agentFound(agent: string): void {
    this.#assertOpen();
    this.record.agent = agent;
    this.#tracker.agentShares.join(this, agent);
  }

  /** Counts the request to its route. @throws {CambistError} as `assertCapacity` */
  admit({ route, target }: { readonly route: Route; readonly target: RequestTarget }): void {
    this.#assertOpen();
    this.target = target;
    reportRoute(this.record, route, this.#tracker.options);
    this.assertCapacity();
    if (route.credential.kind === 'passthrough') this.#tracker.options.openRequests?.addForwarded(this);
  }

  /** Counts the tunnel to its authority. @throws {CambistError} as `assertCapacity` */
  admitTunnel(authority: string): void {
    this.record.authority = authority;
    this.assertCapacity();
    this.#join(authority, `tunnel to "${authority}"`);
    this.onClosed(() => this.#tracker.shares.forget(authority));
  }

  #join(upstream: string, from: string): void {
    const { limits } = this.active.config;
    this.share = this.#tracker.shares.join(upstream);
    if (this.share.inFlight > limits.maxInFlightPerUpstream) this.#tracker.displaceUpload(this.share);
    assertShare(this.share, limits, from);
  }

  leaveShare(): void {
    if (this.share !== undefined) this.share.inFlight -= 1;
    this.share = undefined;
  }

  /** The body streams to the upstream. The request gives way to a new one at the limits until its body is complete. */
  uploadBegun(): void {
    this.#tracker.uploads.add(this);
  }

  /**
   * Waits for bytes of the body. Meanwhile, the request gives way to a new one where `limits.max_in_flight` is reached.
   * @throws {CambistError} ERR_REQUEST_TIMEOUT, ERR_OVERLOADED
   */
  waitForBody<T>(reading: Promise<T>): Promise<T> {
    return this.#tracker.waitForBody(this, reading);
  }

  /** Counts the request to its upstream. @throws {CambistError} ERR_OVERLOADED */
  admitToUpstream(body: RequestBody): void {
    this.#assertOpen();
    this.record.body = body;
    const { route } = this.record;
    if (this.share === undefined && route !== undefined) this.#join(route.upstream.origin, `route "${route.name}"`);
  }

  /** @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where its token was revoked meanwhile */
  admitSession(session: Session): void {
    this.record.session = session;
    if (session.subject !== undefined) this.admitCaller(session.subject);
  }

  /** Notes a caller, so that a revocation ends the request. @throws {CambistError} as `admitSession` */
  admitCaller(subject: Subject): void {
    this.#tracker.options.openRequests?.add(this, subject);
  }

  /** Ends where the token of a caller was revoked. @returns whether it did */
  endIfRevoked(): boolean {
    return this.#tracker.options.openRequests?.endIfRevoked(this) === true;
  }

  /** @returns the milliseconds that the connection may stay paused without a byte in either direction */
  stallMs(): number {
    return this.record.route?.timeouts.stallMs ?? DEFAULT_STALL_MS;
  }

  relay(relay: ResponseRelay): void {
    this.#relay = relay;
    reportResponse(this.record, relay.status, 'forwarded', this.#tracker.options);
    if (isEventStream(relay)) this.#countStream();
    relay.start(this.response);
  }

  /** Lets a data plane forward the request with a token. */
  allow(response: OwnResponse, token: IssuedToken | undefined): void {
    this.record.token = token;
    this.#respond(response, 'forwarded', undefined);
  }

  /** Responds without an upstream, unless a response has begun. @param error given by `fail-request.ts` alone */
  respond(response: OwnResponse, error?: CambistError): void {
    const failure = response.status < 500 ? 'refused' : 'failed';
    this.#respond(response, error === undefined ? 'responded' : failure, error);
  }

  #respond(made: OwnResponse, outcome: Outcome, error: CambistError | undefined): void {
    if (this.#isOver || this.response.headersSent) return;
    const response = this.shape === undefined ? made : this.shape(made, error?.code);
    this.record.error = error;
    reportResponse(this.record, response.status, outcome, this.#tracker.options);
    writeResponse(this.incoming, this.response, response, this.isLastOfConnection);
  }

  /** The connection becomes a WebSocket. @param headers of the upstream's 101 response, as the caller gets them */
  switched(headers: readonly string[]): void {
    reportResponse(this.record, SWITCHING_PROTOCOLS, 'forwarded', this.#tracker.options);
    this.#countStream();
    this.response.writeHead(SWITCHING_PROTOCOLS, [...headers, 'connection', 'upgrade', 'upgrade', 'websocket']);
    this.response.flushHeaders();
  }

  /** The connection becomes a tunnel. @param entry of `forward_proxy.connect` that allows it */
  tunnelled(entry: string): void {
    const { observer } = this.#tracker.options;
    reportResponse(this.record, 200, 'forwarded', this.#tracker.options);
    observer.tunnelOpened(entry);
    this.onClosed(() => observer.tunnelClosed(entry));
  }

  #countStream(): void {
    const { route } = this.record;
    if (route !== undefined) this.onClosed(this.#tracker.streamOpened(route));
  }

  onClosed(listener: () => void): void {
    if (this.#isOver) listener();
    else if (this.#closeListeners === undefined) this.#closeListeners = [listener];
    else this.#closeListeners.push(listener);
  }

  /** Closes the connection before the response is complete. */
  abort(by: AbortedBy): void {
    this.record.abortedBy = by;
    this.incoming.socket.destroy();
  }

  /** Called when the response or its connection has closed. Further calls do nothing. */
  end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    // Before the upstream request is aborted: the relay could not tell that from an upstream that breaks off.
    this.record.abortedBy ??= this.#whoAborted();
    this.abortUpstream?.();
    reportEnd(this.record, this.#tracker.options);
    this.leaveShare();
    for (const listener of this.#closeListeners ?? []) listener();
    this.#tracker.ended(this);
  }

  #whoAborted(): AbortedBy | undefined {
    if (this.response.writableFinished) return undefined;
    if (this.#tracker.isClosing) return 'shutdown';
    if (this.#relay === undefined) return undefined;
    return this.#relay.hasFailed() ? 'upstream' : 'caller';
  }
}
