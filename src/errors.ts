/**
 * Every way in which cambist refuses or fails, in one table: the code is what users see, count and search for.
 * `detail` is the sentence for the caller; it names no address, token or answer of an authorization server. `fix` is for
 * the operator: what to do about it.
 */
const CATALOGUE = {
  ERR_ROUTE_NOT_FOUND: {
    status: 403,
    title: 'No route',
    detail: 'No route of this proxy takes this request: see its host, path, method and message.',
    fix: 'Ask "cambist explain" which route the request would take, and why not: then add one, or correct the URL that the agent calls.',
  },
  ERR_SUBJECT_TOKEN_MISSING: {
    status: 401,
    title: 'Subject token missing',
    detail: 'This route exchanges the caller\'s token, and the request bears none: send "Authorization: Bearer …".',
    fix: "Let the agent send its caller's token in the route's subject header, or set on_missing_subject.",
  },
  ERR_SUBJECT_TOKEN_INVALID: {
    status: 401,
    title: 'Subject token invalid',
    detail: "The caller's token is malformed, expired, or was refused by the authorization server: obtain a new one.",
    fix: "Let the caller obtain a new token. Where all are refused: is cambist's client in their audience, and did signing keys or clocks change?",
  },
  ERR_INTERACTION_REQUIRED: {
    status: 401,
    title: 'Interaction required',
    detail: 'The authorization server wants the user to act: obtain a new token with the claims of the challenge.',
    fix: 'Let the user sign in again with the claims that the challenge names.',
  },
  ERR_EXCHANGE_REFUSED: {
    status: 403,
    title: 'Exchange refused',
    detail: 'The authorization server does not allow this caller a token for this backend.',
    fix: "Compare resource, audience and scope of the route with what the authorization server's policy allows this caller.",
  },
  ERR_CLIENT_REFUSED: {
    status: 502,
    title: 'Proxy refused by the authorization server',
    detail: "The authorization server refused the proxy's own client or request: its operator has to act.",
    fix: 'Check client_id and the credential of client_auth, and that this client may exchange tokens; oauth_error in the log says which.',
  },
  ERR_STS_RESPONSE_INVALID: {
    status: 502,
    title: 'Unusable answer of the authorization server',
    detail: 'The authorization server answered with something that is no usable token: its operator has to act.',
    fix: 'See in the log what the answer was: often it is a page of a gateway before the authorization server.',
  },
  ERR_ISSUED_TOKEN_AUDIENCE: {
    status: 502,
    title: 'Issued token not for this backend',
    detail: 'The authorization server issued a token whose audience is not this backend: its operator has to act.',
    fix: "Fix the authorization server's audience mapping, or set resource, audience or expect_audience of the route.",
  },
  ERR_STS_UNAVAILABLE: {
    status: 503,
    title: 'Authorization server unavailable',
    detail: 'The authorization server cannot be reached or is not answering as it should: try again later.',
    fix: 'See whether the authorization server runs and can be reached from here: network policy, name, tls.ca. It is asked again by itself.',
  },
  ERR_CREDENTIAL_UNAVAILABLE: {
    status: 503,
    title: 'Credential of the proxy unavailable',
    detail: 'A secret, key or token of the proxy itself cannot be read: try again later.',
    fix: 'Put the file or variable that the log names where the config says, readable and not empty. A file is read again by itself, a variable at the next start.',
  },
  ERR_UPSTREAM_UNREACHABLE: {
    status: 502,
    title: 'Backend unreachable',
    detail: 'The backend of this route cannot be reached, or broke the connection before it answered.',
    fix: 'See whether the backend runs and can be reached from here: its address in the route, network policy, name.',
  },
  ERR_UPSTREAM_TLS: {
    status: 502,
    title: 'Backend not trusted',
    detail:
      'The TLS certificate of the backend of this route is not trusted, or it speaks no TLS: its operator has to act.',
    fix: 'Name the certificate authority of the backend in tls.ca of the route, or have its certificate renewed; and see that its port serves https.',
  },
  ERR_UPSTREAM_REFUSED_TOKEN: {
    status: 502,
    title: 'Backend refused the issued token',
    detail: 'The backend of this route refused a token that was issued for it: its operator has to act.',
    fix: 'Compare which issuer, audience and scope the backend wants with what "cambist doctor" shows to be issued.',
  },
  ERR_UPSTREAM_TIMEOUT: {
    status: 504,
    title: 'Backend too slow',
    detail: 'The backend of this route sent no response headers in time.',
    fix: 'See why the backend is slow, or raise timeouts.response_headers of the route.',
  },
  ERR_SHUTTING_DOWN: {
    status: 503,
    title: 'Shutting down',
    detail: 'This proxy is shutting down and takes no new requests.',
    fix: 'Nothing: this process is ending.',
  },
  ERR_OVERLOADED: {
    status: 503,
    title: 'Too many requests in flight',
    detail: 'This proxy has as many requests in flight as it may: try again later.',
    fix: 'Raise limits.max_in_flight, or run more proxies. Where streams pile up: who opens and never closes them?',
  },
  ERR_INTERNAL: {
    status: 500,
    title: 'Internal error',
    detail: 'A fault of this proxy itself: its log has more under this request id.',
    fix: 'Report it, with the log line.',
  },
} as const satisfies Record<string, ErrorDescription>;

/** The stable name of a failure: what a caller reads as `code` and an operator finds in logs and metrics. */
export type ErrorCode = keyof typeof CATALOGUE;

interface ErrorDescription {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly fix: string;
}

/** All codes, in the order of the catalogue. */
export const ERROR_CODES = Object.keys(CATALOGUE) as readonly ErrorCode[];

/** What a code means, to a caller and to an operator. */
export function describeError(code: ErrorCode): ErrorDescription {
  return CATALOGUE[code];
}

export interface CambistErrorOptions {
  /** What was caught; goes to the log only, redacted. */
  cause?: unknown;
  /** Seconds after which the caller may try again; becomes `Retry-After`. */
  retryAfterSeconds?: number;
  /** The claims challenge of the authorization server, JSON as it came; becomes `claims` of the 401 challenge. */
  claims?: string;
  /** The `error` of an OAuth answer (RFC 6749 section 5.2), for the log. */
  oauthError?: string;
  /** Of the answer with which an authorization server failed; there is none where it did not answer. */
  serverStatus?: number;
}

/**
 * The one error that cambist throws on purpose. `message` is for the operator: what failed, which named thing, why, and
 * what to change. It may name addresses and files, so it goes to the log and never to the caller.
 */
export class CambistError extends Error {
  readonly code: ErrorCode;
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
  readonly claims: string | undefined;
  readonly oauthError: string | undefined;
  readonly serverStatus: number | undefined;

  constructor(code: ErrorCode, message: string, options: CambistErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CambistError';
    this.code = code;
    this.status = CATALOGUE[code].status;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.claims = options.claims;
    this.oauthError = options.oauthError;
    this.serverStatus = options.serverStatus;
  }
}
