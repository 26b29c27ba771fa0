import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Route } from '../config/config.ts';
import type { CambistError } from '../errors.ts';
import type { Cutter, Outcome } from '../observability/proxy-observer.ts';
import type { CacheResult } from '../observability/token-observer.ts';
import type { Span } from '../observability/tracing.ts';
import type { RequestTarget } from '../routing/request-target.ts';
import type { IssuedToken } from '../tokens/issued.ts';
import type { CredentialHeaders } from './caller-tokens.ts';
import type { Relay } from './relay.ts';
import type { RequestBody } from './request-body.ts';

/** One request on its way through cambist; each step fills in what it found out. */
export interface Passage {
  readonly id: string;
  /** The request target as it came. */
  readonly url: string;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Those of the config when the request arrived. */
  readonly credentialHeaders: CredentialHeaders;
  /** Monotonic milliseconds. */
  readonly startedMs: number;
  /** What it names; undefined until it was looked at. */
  target: RequestTarget | undefined;
  /** Undefined until one matched. */
  route: Route | undefined;
  cache: CacheResult | undefined;
  /** How long it waited for tokens that were not in the cache. */
  exchangeMs: number | undefined;
  /** Scopes that the upstream asked for and got. */
  stepUp: readonly string[] | undefined;
  /** Undefined where tracing is off. */
  span: Span | undefined;
  leg: UpstreamLeg | undefined;
  /** Set where cambist answers by itself. */
  error: CambistError | undefined;
  answer: Answer | undefined;
  /** Set where the upstream's answer is handed on. */
  relay: Relay | undefined;
  /** Set where the request ended before its answer was whole. */
  cutBy: Cutter | undefined;
  /** Has the connection to the caller ended? */
  gone: boolean;
  /** Ends the upstream request, once there is one. */
  abort: (() => void) | undefined;
}

/** The head of what the caller got. */
export interface Answer {
  readonly status: number;
  readonly outcome: Outcome;
  /** From the request's arrival. */
  readonly durationMs: number;
}

/** What the dispatcher needs to send a request upstream. */
export interface UpstreamLeg {
  readonly path: string;
  /** Without `Authorization`. */
  readonly headers: readonly string[];
  readonly body: RequestBody;
  /** Undefined on routes that send none of ours. */
  readonly bearer: Bearer | undefined;
}

export interface Bearer {
  readonly token: IssuedToken;
  /** Has the end of the last token passed since it was given? */
  hasEnded(): boolean;
  /** Another in place of one whose end has passed. */
  replace(): Promise<IssuedToken>;
  /** Gives up a token that the upstream refused, and gets another; undefined where another would be refused as well. */
  renew(): Promise<IssuedToken> | undefined;
  /** Gives it up without another. @returns is another worth asking for? */
  refuse(): boolean;
  /** A token with more scopes, for a second attempt; undefined where the route may not add them, or nothing is to add. */
  stepUp(scopes: readonly string[]): Promise<IssuedToken> | undefined;
  /** Takes note of an answer that opens or ends a session. @param header value of one of its headers, by lower-case name */
  answered(status: number, header: (name: string) => string | undefined): void;
}
