import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Route } from '../config/route.ts';
import { formatDuration } from '../config/units.ts';
import { CambistError, type Diagnosis } from '../errors.ts';
import { type AbortedBy, CALLER_GONE, type Outcome, type WayIn } from '../observability/proxy-observer.ts';
import type { CacheResult } from '../observability/token-observer.ts';
import type { Span } from '../observability/tracing.ts';
import type { RequestTarget } from '../routing/request-target.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { Session } from '../tokens/session.ts';
import { revokedToken, type Subject } from '../tokens/subject.ts';
import type { ActiveConfig } from './active-config.ts';
import { ARRIVAL, type Arrival, type Arrived } from './arrival.ts';
import { BodyWait } from './body-wait.ts';
import { callerRequestId } from './caller-tokens.ts';
import { failureResponse } from './failure-response.ts';
import type { RawHeaders } from './headers.ts';
import { asCambistError, type OwnResponse, writeResponse } from './own-response.ts';
import type { Pipelined } from './pipelining.ts';
import type { ProxyRequest, RequestRecord, ResponseStart } from './proxy-request.ts';
import { discardRest, isReadingPaused, type RequestBody } from './request-body.ts';
import { beginSpan, endSpan, logRequest, nameSpan } from './request-report.ts';
import type { RequestTracker } from './request-tracker.ts';
import { isEventStream, type ResponseRelay } from './response-relay.ts';
import { DEFAULT_STALL_MS } from './stall-watch.ts';
import { assertShare, type UpstreamShare } from './upstream-share.ts';

const SWITCHING_PROTOCOLS = 101;

/** One request from its receipt to its end. It alone writes its progress. */
export class TrackedRequest implements ProxyRequest, RequestRecord, Pipelined {
  readonly id: string;
  readonly url: string;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  readonly arrival: Arrival | undefined;
  readonly wayIn: WayIn;
  readonly active: ActiveConfig;
  readonly span: Span | undefined;
  readonly #tracker: RequestTracker;
  /** Monotonic milliseconds. */
  readonly #startedMs: number;
  #isOver = false;
  #isRevoked = false;
  abortUpstream: (() => void) | undefined;
  target: RequestTarget | undefined;
  route: Route | undefined;
  authority: string | undefined;
  session: Session | undefined;
  body: RequestBody | undefined;
  token: IssuedToken | undefined;
  cacheResult: CacheResult | undefined;
  forwarded: RawHeaders | undefined;
  hasOwnToken = false;
  exchangeMs: number | undefined;
  stepUp: readonly string[] | undefined;
  scopesMissing: string | undefined;
  diagnosis: Diagnosis | undefined;
  error: CambistError | undefined;
  responseStart: ResponseStart | undefined;
  abortedBy: AbortedBy | undefined;
  #relay: ResponseRelay | undefined;
  #closeListeners: (() => void)[] | undefined;
  #share: UpstreamShare | undefined;
  /** An error waits for the rest of the body. */
  #isFailing = false;

  constructor(tracker: RequestTracker, incoming: IncomingMessage, response: ServerResponse, url: string) {
    const { activeConfig, clock, tracing } = tracker.options;
    const active = activeConfig();
    this.#tracker = tracker;
    this.#startedMs = clock.monotonicMs();
    this.id = callerRequestId(incoming.rawHeaders, active.credentialHeaders) ?? randomUUID();
    this.url = url;
    this.incoming = incoming;
    this.response = response;
    this.arrival = (incoming.socket as Arrived)[ARRIVAL];
    if (this.arrival !== undefined) this.arrival.isUsed = true;
    this.wayIn = this.arrival?.wayIn ?? (url.startsWith('/') ? 'base_url' : 'proxy');
    this.active = active;
    this.span = tracing && beginSpan(tracing, incoming, active.credentialHeaders);
  }

  get isClosed(): boolean {
    return this.#isOver || this.#isRevoked;
  }

  assertCapacity(): void {
    this.#tracker.assertCapacity(this.active.config.limits.maxInFlight);
  }

  admit({ route, target }: { readonly route: Route; readonly target: RequestTarget }): void {
    this.route = route;
    this.target = target;
    nameSpan(this, route);
    this.#tracker.options.observer.requestRouted(route);
    this.assertCapacity();
    if (route.credential.kind === 'passthrough') this.#tracker.options.openRequests?.addForwarded(this);
  }

  admitTunnel(authority: string): void {
    this.authority = authority;
    this.assertCapacity();
    this.#join(authority, `tunnel to "${authority}"`);
    this.onClosed(() => this.#tracker.shares.forget(authority));
  }

  #join(upstream: string, from: string): void {
    this.#share = this.#tracker.shares.join(upstream);
    assertShare(this.#share, this.active.config.limits, from);
  }

  waitForBody<T>(reading: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const wait = new BodyWait(this, reject);
      this.#tracker.startWaiting(wait);
      const finish = (): void => this.#tracker.stopWaiting(wait);
      reading.then(resolve, reject).finally(finish);
    });
  }

  bodyTaken(body: RequestBody): void {
    this.body = body;
    const { route } = this;
    if (this.#share === undefined && route !== undefined) this.#join(route.upstream.origin, `route "${route.name}"`);
  }

  sessionFound(session: Session): void {
    this.session = session;
    if (session.subject !== undefined) this.callerFound(session.subject);
  }

  callerRead(subject: Subject): void {
    this.session = { subject, id: undefined };
  }

  callerForwarded(headers: RawHeaders): void {
    this.forwarded = headers;
  }

  callerFound(subject: Subject): void {
    this.#tracker.options.openRequests?.add(this, subject);
  }

  revoke(): void {
    if (this.isClosed) return;
    if (this.response.headersSent) {
      this.abortedBy = 'revoked';
      this.incoming.socket.destroy();
    } else this.fail(revokedToken('the subject token was revoked during the request'));
    this.#isRevoked = true;
    this.abortUpstream?.();
  }

  watchUpload(): void {
    const { incoming, response } = this;
    this.#tracker.options.watch.add({
      socket: incoming.socket,
      isPaused: () => isReadingPaused(incoming),
      isOver: () => this.#isOver || incoming.complete || response.writableEnded,
      stallMs: () => this.stallMs(),
      onStall: () => this.#endStalledUpload(),
    });
  }

  stallMs(): number {
    return this.route?.timeouts.stallMs ?? DEFAULT_STALL_MS;
  }

  closeStalled(): void {
    this.abortedBy = 'stall';
    this.incoming.socket.destroy();
  }

  tokenLookedUp(result: CacheResult): void {
    this.cacheResult = result;
  }

  usesOwnToken(): void {
    const { route } = this;
    // A retry looks up a token again.
    if (this.hasOwnToken || route === undefined) return;
    this.hasOwnToken = true;
    this.#tracker.options.observer.ownTokenUsed(route);
  }

  waitedForToken(ms: number): void {
    this.exchangeMs = (this.exchangeMs ?? 0) + ms;
  }

  tokenSent(token: IssuedToken | undefined): void {
    this.token = token;
  }

  steppedUp(scopes: readonly string[]): void {
    this.stepUp = scopes;
  }

  lacksScopes(scopes: string): void {
    this.scopesMissing = scopes;
  }

  explained(diagnosis: Diagnosis): void {
    this.diagnosis = diagnosis;
  }

  get isLastOfConnection(): boolean {
    return this.#tracker.isLeaving;
  }

  relay(relay: ResponseRelay): void {
    this.#relay = relay;
    this.#responded(relay.status, 'forwarded');
    if (isEventStream(relay)) this.#countStream();
    relay.start(this.response);
  }

  breakOff(error: Error): void {
    this.error = asCambistError(error);
    this.abortedBy = 'cross_route';
  }

  respond(response: OwnResponse): void {
    if (this.#isOver || this.response.headersSent) return;
    this.#responded(response.status, 'responded');
    writeResponse(this.incoming, this.response, response, this.#tracker.isLeaving);
  }

  switched(headers: readonly string[]): void {
    this.#responded(SWITCHING_PROTOCOLS, 'forwarded');
    this.#countStream();
    this.response.writeHead(SWITCHING_PROTOCOLS, [...headers, 'connection', 'upgrade', 'upgrade', 'websocket']);
    this.response.flushHeaders();
  }

  tunnelled(entry: string): void {
    const { observer } = this.#tracker.options;
    this.#responded(200, 'forwarded');
    observer.tunnelOpened(entry);
    this.onClosed(() => observer.tunnelClosed(entry));
  }

  fail(caught: unknown, instead?: OwnResponse): void {
    if (this.#isOver || this.response.headersSent || this.#isFailing) return;
    const error = asCambistError(caught);
    const response = instead ?? failureResponse(this, error);
    this.#isFailing = response instanceof Promise;
    if (response instanceof Promise) void response.then((known) => this.#failWith(error, known));
    else this.#failWith(error, response);
  }

  #failWith(error: CambistError, response: OwnResponse): void {
    if (this.#isOver || this.response.headersSent) return;
    this.error = error;
    this.#responded(response.status, response.status < 500 ? 'refused' : 'failed');
    writeResponse(this.incoming, this.response, response, this.#tracker.isLeaving);
  }

  onClosed(listener: () => void): void {
    if (this.#isOver) listener();
    else if (this.#closeListeners === undefined) this.#closeListeners = [listener];
    else this.#closeListeners.push(listener);
  }

  /** Called when the response or its connection has closed. */
  end(): void {
    if (this.#isOver) return;
    const { clock, observer, logger, keepLine } = this.#tracker.options;
    this.#isOver = true;
    // Before the upstream request is aborted: the relay could not tell that from an upstream that breaks off.
    this.abortedBy ??= this.#whoAborted();
    this.abortUpstream?.();
    if (this.responseStart === undefined) this.#responded(CALLER_GONE, 'cancelled');
    if (this.route !== undefined) {
      observer.requestFinished(this.route);
      if (this.abortedBy !== undefined) observer.requestAborted(this.route, this.abortedBy);
    }
    logRequest(logger, this, clock.monotonicMs() - this.#startedMs, keepLine);
    endSpan(this);
    if (this.#share !== undefined) this.#share.inFlight -= 1;
    for (const listener of this.#closeListeners ?? []) listener();
    this.#tracker.ended(this);
  }

  #whoAborted(): AbortedBy | undefined {
    if (this.response.writableFinished) return undefined;
    if (this.#tracker.isClosing) return 'shutdown';
    if (this.#relay === undefined) return undefined;
    return this.#relay.hasFailed() ? 'upstream' : 'caller';
  }

  #endStalledUpload(): void {
    if (this.response.headersSent) {
      this.abortedBy = 'stall';
      this.response.destroy();
    } else {
      this.fail(stalledUpload(this.route?.name, this.stallMs()));
    }
    this.abortUpstream?.();
    discardRest(this.incoming);
  }

  #responded(status: number, outcome: Outcome): void {
    const { clock, observer, audit, decisions } = this.#tracker.options;
    const nowMs = clock.monotonicMs();
    const durationMs = nowMs - this.#startedMs;
    const { incoming, error, wayIn } = this;
    this.responseStart = { status, outcome, durationMs };
    decisions.note(this, this.responseStart, nowMs);
    const method = incoming.method ?? '';
    observer.responseStarted(this.route, {
      method,
      wayIn,
      status,
      outcome,
      error: error?.code,
      diagnosis: error?.diagnosis,
      durationMs,
    });
    audit?.requestDecided(this);
  }

  /** Counts an open stream until the request ends. */
  #countStream(): void {
    if (this.route !== undefined) this.onClosed(this.#tracker.streamOpened(this.route));
  }
}

/** @param stallMs for which no byte moved */
export function stalledUpload(routeName: string | undefined, stallMs: number): CambistError {
  const message = `no byte moved for timeouts.stall, which is ${formatDuration(stallMs)}, while the upload waited for the backend`;
  const fix = 'find out why it stopped reading, or raise timeouts.stall';
  return new CambistError('ERR_UPSTREAM_TIMEOUT', `route "${routeName}": ${message}: ${fix}`);
}
