import type { IncomingMessage } from 'node:http';
import type { Route } from '../config/route.ts';
import type { CambistError, Diagnosis } from '../errors.ts';
import type { AbortedBy, Outcome, WayIn } from '../observability/proxy-observer.ts';
import type { CacheResult } from '../observability/token-observer.ts';
import type { Span } from '../observability/tracing.ts';
import type { IssuedToken } from '../tokens/issued-token.ts';
import type { Session } from '../tokens/session.ts';
import type { Subject } from '../tokens/subject.ts';
import type { ActiveConfig } from './active-config.ts';
import type { RawHeaders } from './headers.ts';
import type { RequestBody } from './request-body.ts';

export interface ResponseStart {
  readonly status: number;
  readonly outcome: Outcome;
  /** From the receipt of the request. */
  readonly durationMs: number;
}

/**
 * The facts in the log line, the span, the audit record and the error response of a request. Each step writes what it learns;
 * `request-report.ts` reports it.
 */
export class RequestRecord {
  readonly id: string;
  readonly incoming: IncomingMessage;
  readonly wayIn: WayIn;
  readonly active: ActiveConfig;
  readonly span: Span | undefined;
  /** Monotonic milliseconds. */
  readonly startedMs: number;
  route: Route | undefined;
  /** Name of the agent that sent the request. Undefined where the config names none. */
  agent: string | undefined;
  authority: string | undefined;
  /** The session that a token was looked up for. */
  session: Session | undefined;
  body: RequestBody | undefined;
  /** The issued token of the last attempt. Undefined where the route sends none. */
  token: IssuedToken | undefined;
  cacheResult: CacheResult | undefined;
  /** The headers with the tokens that a passthrough route forwards. */
  forwarded: RawHeaders | undefined;
  /** The route expects a caller's token, and the request ran without one: its token is issued to cambist itself. */
  ranWithoutCaller = false;
  /** Time spent waiting for tokens that were not cached. */
  exchangeMs: number | undefined;
  /** The scopes that a step-up added. */
  stepUp: readonly string[] | undefined;
  /** The scopes that the upstream asked for and did not get. Redacted. */
  scopesMissing: string | undefined;
  /** Explains a response of the upstream, which the caller gets. */
  diagnosis: Diagnosis | undefined;
  /** Set where cambist responded with an error of its own, or broke off a response. */
  error: CambistError | undefined;
  responseStart: ResponseStart | undefined;
  /** Set where the request ended before its response was complete. */
  abortedBy: AbortedBy | undefined;

  constructor(
    id: string,
    incoming: IncomingMessage,
    wayIn: WayIn,
    active: ActiveConfig,
    span: Span | undefined,
    startedMs: number,
  ) {
    this.id = id;
    this.incoming = incoming;
    this.wayIn = wayIn;
    this.active = active;
    this.span = span;
    this.startedMs = startedMs;
  }

  /** The team that owns the route, or the region of a request that no route takes. */
  get team(): string | undefined {
    return this.route?.team ?? this.error?.team;
  }

  /** Notes a caller before the check for revocation. With `verify`, its token is verified. */
  callerRead(subject: Subject): void {
    this.session = { subject, id: undefined };
  }
}
