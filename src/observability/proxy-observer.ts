import type { Route } from '../config/route.ts';
import type { ErrorCode } from '../error-catalogue.ts';
import type { Diagnosis } from '../errors.ts';

/** nginx's status for a caller that disconnects before the response. */
export const CALLER_GONE = 499;

export type Outcome =
  /** The upstream's response was relayed, whatever its status. */
  | 'forwarded'
  /** cambist returned metadata of its own. */
  | 'responded'
  /** cambist returned 4xx: the caller has to act. */
  | 'refused'
  /** cambist returned 5xx: cambist, the authorization server or the backend failed. */
  | 'failed'
  /** The caller disconnected before the response. */
  | 'cancelled';

/** The party that ended a request before its response was complete. */
export type AbortedBy = (typeof ABORTED_BY)[number];
/**
 * `stall`: no byte moved for `timeouts.stall`. `shutdown`: cambist shut down. `revoked`: the caller's token was revoked.
 * `cross_route`: an endpoint event led to another route.
 */
export const ABORTED_BY = ['upstream', 'caller', 'stall', 'shutdown', 'revoked', 'cross_route'] as const;

/** The ways by which a request gets here. */
export const WAYS_IN = ['base_url', 'proxy', 'redirect', 'decision'] as const;

/**
 * `base_url`: the agent's URLs name cambist. `proxy`: cambist is the agent's HTTP proxy. `redirect`: the agent connected to the
 * host itself, and names or packets led it here. `decision`: a data plane asked, and forwards the request itself.
 */
export type WayIn = (typeof WAYS_IN)[number];

/** The causes of a TLS handshake with an agent that failed. */
export const HANDSHAKE_FAILURES = [
  /** The agent sent an alert about the certificate. */
  'untrusted',
  /** The agent left without an alert, during the handshake or before its first request. */
  'closed',
  /** The agent named another host, or none. */
  'server_name',
  /** No route names the host, and no entry of `forward_proxy.connect` allows it. */
  'unrouted',
  /** The handshake took too long. */
  'timeout',
  /** The name constraints of the authority exclude the host. */
  'excluded',
  /** Malformed bytes, or no common version, cipher or protocol. */
  'protocol',
  /** cambist could not sign a certificate. */
  'internal',
] as const;

export type HandshakeFailure = (typeof HANDSHAKE_FAILURES)[number];

export interface StartedResponse {
  readonly method: string;
  readonly wayIn: WayIn;
  /** Name of the agent that sent the request. Undefined where none is known. */
  readonly agent?: string | undefined;
  /** The team that owns the route, or the region of a request that no route takes. */
  readonly team?: string | undefined;
  /** HTTP status, or 499 if the caller disconnected before the response. */
  readonly status: number;
  readonly outcome: Outcome;
  /** The error of cambist that is the response. */
  readonly error: ErrorCode | undefined;
  readonly diagnosis?: Diagnosis | undefined;
  /** From the arrival of the request to the response headers. */
  readonly durationMs: number;
}

export interface ProxyObserver {
  requestRouted(route: Route): void;
  /** @param route undefined if none matched */
  responseStarted(route: Route | undefined, response: StartedResponse): void;
  requestFinished(route: Route): void;
  requestAborted(route: Route, by: AbortedBy): void;
  streamOpened(route: Route): void;
  streamClosed(route: Route): void;
  /** A request without a caller's token ran with a token of cambist itself. */
  ownTokenUsed(route: Route): void;
  /** A request is sent upstream again, because the token, its scopes or its proof were refused. */
  upstreamRetried(route: Route): void;
  /** @param entry of `forward_proxy.connect` */
  tunnelOpened(entry: string): void;
  tunnelClosed(entry: string): void;
  handshakeFailed(cause: HandshakeFailure): void;
}
