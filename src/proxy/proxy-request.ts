import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Route } from '../config/route.ts';
import type { CambistError, Diagnosis } from '../errors.ts';
import type { AbortedBy, Outcome, WayIn } from '../observability/proxy-observer.ts';
import type { CacheResult } from '../observability/token-observer.ts';
import type { Span } from '../observability/tracing.ts';
import type { RequestTarget } from '../routing/request-target.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { Session } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import type { ActiveConfig } from './active-config.ts';
import type { Arrival } from './arrival.ts';
import type { RawHeaders } from './headers.ts';
import type { OwnResponse } from './own-response.ts';
import type { RequestBody } from './request-body.ts';
import type { ResponseRelay } from './response-relay.ts';

/** One request from its receipt to its end. Only `tracked-request.ts` writes its progress, through these methods. */
export interface ProxyRequest {
  readonly id: string;
  /** The request target as it was received. */
  readonly url: string;
  readonly incoming: IncomingMessage;
  readonly response: ServerResponse;
  /** How its connection got here. Undefined: the agent's URL names cambist, or it sends cambist plain HTTP as a proxy. */
  readonly arrival: Arrival | undefined;
  /** The config that was active when the request arrived. It serves the request to its end. */
  readonly active: ActiveConfig;
  /** Undefined where tracing is off. */
  readonly span: Span | undefined;
  /** The response is complete, the caller has left, or its token was revoked. */
  readonly isClosed: boolean;
  /** The proxy shuts down, so the connection closes after the response. */
  readonly isLastOfConnection: boolean;
  /** Undefined until one matched. */
  readonly route: Route | undefined;
  /** For reports and errors: the session that a token was looked up for. */
  readonly session: Session | undefined;
  /** For reports and errors: the body, as far as it was read. */
  readonly body: RequestBody | undefined;
  /** Aborts the upstream request, while there is one. */
  abortUpstream: (() => void) | undefined;

  /** Calls the listener once when the request ends. */
  onClosed(listener: () => void): void;
  /** @throws {CambistError} ERR_SHUTTING_DOWN, ERR_OVERLOADED */
  assertCapacity(): void;
  /** Counts the request to its route. @throws {CambistError} ERR_SHUTTING_DOWN, ERR_OVERLOADED */
  admit(routed: { readonly route: Route; readonly target: RequestTarget }): void;
  /** Counts the tunnel to its authority. @throws {CambistError} ERR_SHUTTING_DOWN, ERR_OVERLOADED */
  admitTunnel(authority: string): void;
  /**
   * Waits for bytes of the body. Meanwhile, the request gives way to a new one where `limits.max_in_flight` is reached.
   * @throws {CambistError} ERR_REQUEST_TIMEOUT, ERR_OVERLOADED
   */
  waitForBody<T>(reading: Promise<T>): Promise<T>;
  /** Counts the request to its upstream. @throws {CambistError} ERR_OVERLOADED */
  bodyTaken(body: RequestBody): void;
  /** @throws {CambistError} ERR_SUBJECT_TOKEN_INVALID where its token was revoked meanwhile */
  sessionFound(session: Session): void;
  /** Notes a caller whose token the route does not read itself. @throws {CambistError} as `sessionFound` */
  callerFound(subject: Subject): void;
  /** Notes a caller for reports, before its token is known not to be revoked. With `verify`, it is verified. */
  callerRead(subject: Subject): void;
  /** @param headers with the tokens that the route forwards as they are */
  callerForwarded(headers: RawHeaders): void;
  /** Ends the request, because its caller's token is revoked: with 401, or by closing its connection once a response began. */
  revoke(): void;
  /** Ends the request when its streamed body stands still. */
  watchUpload(): void;
  /** How long the connection may stay paused without a byte in either direction, in milliseconds. */
  stallMs(): number;
  tokenLookedUp(result: CacheResult): void;
  /** The request has no caller's token, so it gets one that is issued to cambist itself. */
  usesOwnToken(): void;
  waitedForToken(ms: number): void;
  /** @param token of the current attempt; undefined where the route sends none */
  tokenSent(token: IssuedToken | undefined): void;
  /** @param scopes which the upstream asked for and got */
  steppedUp(scopes: readonly string[]): void;
  /** @param scopes that the upstream asked for and did not get; redacted */
  lacksScopes(scopes: string): void;
  /** @param diagnosis of a response that the upstream made, and that the caller gets */
  explained(diagnosis: Diagnosis): void;
  /** Relays the upstream's response. */
  relay(relay: ResponseRelay): void;
  /** Notes the error for which a response that has begun is broken off: its body leads to another route. */
  breakOff(error: Error): void;
  /** Responds without an upstream, and not with an error. */
  respond(response: OwnResponse): void;
  /** The connection becomes a WebSocket. @param headers of the upstream's 101 response, as the caller gets them */
  switched(headers: readonly string[]): void;
  /** The connection becomes a tunnel. @param entry of `forward_proxy.connect` that allows it */
  tunnelled(entry: string): void;
  /**
   * Responds with an error of cambist's own, unless a response has begun.
   * @param instead the response in the client's own protocol
   */
  fail(error: unknown, instead?: OwnResponse): void;
}

/** The status of a response and when it began. */
export interface ResponseStart {
  readonly status: number;
  readonly outcome: Outcome;
  /** From the receipt of the request. */
  readonly durationMs: number;
}

/** The facts in the log line, the span and the audit record of a request. */
export interface RequestRecord {
  readonly id: string;
  readonly incoming: IncomingMessage;
  readonly wayIn: WayIn;
  readonly active: ActiveConfig;
  readonly span: Span | undefined;
  /** Undefined until one matched. */
  readonly route: Route | undefined;
  /** The destination of a tunnel. */
  readonly authority: string | undefined;
  readonly session: Session | undefined;
  readonly body: RequestBody | undefined;
  /** The issued token of the last attempt. */
  readonly token: IssuedToken | undefined;
  readonly cacheResult: CacheResult | undefined;
  /** The headers with the tokens that a passthrough route forwards. */
  readonly forwarded: RawHeaders | undefined;
  /** The route expects a caller's token, and the request ran without one. */
  readonly hasOwnToken: boolean;
  /** Time spent waiting for tokens that were not cached. */
  readonly exchangeMs: number | undefined;
  readonly stepUp: readonly string[] | undefined;
  readonly scopesMissing: string | undefined;
  /** Explains the upstream's response. */
  readonly diagnosis: Diagnosis | undefined;
  /** Set where cambist responded with an error of its own. */
  readonly error: CambistError | undefined;
  readonly responseStart: ResponseStart | undefined;
  /** Set where the request ended before its response was complete. */
  readonly abortedBy: AbortedBy | undefined;
}
