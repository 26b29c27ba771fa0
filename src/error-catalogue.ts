/** The step of a request in which an error arises. `any`: it can arise in every step. */
type ErrorPhase = 'any' | 'route' | 'subject' | 'exchange' | 'upstream';

/**
 * Every error that cambist reports. Callers read the code, operators count it and search for it.
 * `detail` is for the caller. It never contains an address, a token or the response of another server.
 * `fix` tells the operator how to fix the error.
 */
const CATALOGUE = {
  ERR_ROUTE_NOT_FOUND: {
    status: 403,
    phase: 'route',
    title: 'No route',
    detail: 'No route of this proxy matches the host, path, method and message of this request.',
    fix: 'Run "cambist explain" to see why no route matches. Then add a route, or correct the URL that the agent calls.',
  },
  ERR_ROUTES_INVALID: {
    status: 503,
    phase: 'route',
    title: 'Routes invalid',
    detail: 'The routes of the team that owns this host and path have an error: report it to that team.',
    fix: 'Fix the file that the log names: "cambist validate" shows every problem in it. The routes of other teams are not affected.',
  },
  ERR_MISDIRECTED_REQUEST: {
    status: 421,
    phase: 'route',
    title: 'Misdirected request',
    detail: 'The request is for another host than its TLS connection: send it on a connection to its own host.',
    fix: 'Make the agent use one connection for each host, and remove any Host header that it sets itself. If no agent should send this, treat it as an attempt to get the token of another backend.',
  },
  ERR_MESSAGE_TOO_LARGE: {
    status: 413,
    phase: 'route',
    title: 'Message too large',
    detail: 'The route depends on the message in the body, and this body is larger than the proxy reads.',
    fix: 'Raise retry_body_limit of the routes with this host and path, up to 1MiB. Larger messages need a route without mcp_method and mcp_name.',
  },
  ERR_TOO_MANY_HEADERS: {
    status: 431,
    phase: 'subject',
    title: 'Too many headers',
    detail: 'The agent behind this proxy takes requests with at most 100 headers: send fewer.',
    fix: 'Find out which client or gateway sends this many headers, because servers drop those beyond a number of their own.',
  },
  ERR_HEADER_MISMATCH: {
    status: 400,
    phase: 'route',
    title: 'Headers disagree with the message',
    detail: 'Mcp-Method or Mcp-Name is missing, or is not the method or name of the message in the body.',
    fix: 'Update the MCP client: its headers must repeat its message. If a gateway in front of cambist changes either, correct the gateway.',
  },
  ERR_AGENT_UNKNOWN: {
    status: 401,
    phase: 'route',
    title: 'Agent unknown',
    detail: 'This proxy serves known agents only, and this request has no valid identity of one.',
    fix: 'The log says what is wrong with the identity. Make the agent send its own token or certificate, and name the agent under agents.known.',
  },
  ERR_AGENT_NOT_ALLOWED: {
    status: 403,
    phase: 'route',
    title: 'Agent not allowed',
    detail: 'The route does not serve this agent.',
    fix: "Add the agent's name to agents of the route, if it may use the route.",
  },
  ERR_SUBJECT_TOKEN_MISSING: {
    status: 401,
    phase: 'subject',
    title: 'Subject token missing',
    detail: 'This route exchanges the caller\'s token, but the request has none: send "Authorization: Bearer …".',
    fix: "Make the agent send its caller's token in the route's subject header. For handshakes and lists alone, set unattended.",
  },
  ERR_SUBJECT_TOKEN_INVALID: {
    status: 401,
    phase: 'exchange',
    title: 'Subject token invalid',
    detail: "The caller's token is malformed, expired, or was refused by the authorization server: obtain a new one.",
    fix: "The caller must obtain a new token. If every token is refused, check that its audience includes cambist's client, and check signing keys and clocks.",
  },
  ERR_HANDLE_INVALID: {
    status: 401,
    phase: 'subject',
    title: 'Handle invalid',
    detail:
      'This proxy gives the agent a handle in place of each token. This request has another token, or a handle that is unknown, expired, or of a request that is over.',
    fix: 'Make the agent forward the Authorization header or the baggage of the request that it is serving. The log says what is wrong with the handle.',
  },
  ERR_INTERACTION_REQUIRED: {
    status: 401,
    phase: 'exchange',
    title: 'Interaction required',
    detail:
      'The authorization server or the backend requires the user to act: obtain a new token as the challenge says.',
    fix: 'The user must sign in again as the challenge says: with its claims, or with its acr_values and max_age.',
  },
  ERR_CONSENT_REQUIRED: {
    status: 403,
    phase: 'exchange',
    title: 'Consent required',
    detail: 'The user must consent before this proxy can get a token for this backend.',
    fix: "The user must open the URL and consent. If callers get no URL, add its host to interaction.hosts, or set the route's consent_url.",
  },
  ERR_CROSS_SITE_REQUEST: {
    status: 403,
    phase: 'subject',
    title: 'Cross-site request refused',
    detail:
      'A web page may not call this route without a token of the caller, and neither may a request for another host.',
    fix: 'If a web page calls this route, add its origin to allowed_origins of the route. If the log names the Host, add that name to match.host.',
  },
  ERR_EXCHANGE_REFUSED: {
    status: 403,
    phase: 'exchange',
    title: 'Exchange refused',
    detail: 'The authorization server does not allow this caller a token for this backend.',
    fix: "Compare the route's resource, audience and scope with the authorization server's policy for this caller.",
  },
  ERR_CLIENT_REFUSED: {
    status: 502,
    phase: 'exchange',
    title: 'Proxy refused by the authorization server',
    detail:
      "The authorization server refused the proxy's own client or request: report it to the operator of the proxy.",
    fix: 'Check client_id, the credential in client_auth, and that this client may exchange tokens. oauth_error in the log says which of them.',
  },
  ERR_STS_RESPONSE_INVALID: {
    status: 502,
    phase: 'exchange',
    title: 'Invalid response from the authorization server',
    detail:
      'The authorization server returned a response without a usable token: report it to the operator of the proxy.',
    fix: 'See the log for the response. It is often the error page of a gateway in front of the authorization server.',
  },
  ERR_ISSUED_TOKEN_AUDIENCE: {
    status: 502,
    phase: 'exchange',
    title: 'Issued token not for this backend',
    detail:
      'The authorization server issued a token whose audience is not this backend: report it to the operator of the proxy.',
    fix: "Fix the audience mapping of the authorization server, or set the route's resource, audience or expect_audience.",
  },
  ERR_STS_METADATA_INVALID: {
    status: 502,
    phase: 'exchange',
    title: 'Metadata of the authorization server invalid',
    detail: 'The authorization server has no usable metadata: report it to the operator of the proxy.',
    fix: 'Compare issuer with the name that the server has for itself; the log has the URL of the metadata. Or set token_endpoint, or jwks_uri for keys.',
  },
  ERR_STS_UNAVAILABLE: {
    status: 503,
    phase: 'exchange',
    title: 'Authorization server unavailable',
    detail: 'The authorization server cannot be reached or does not work: try again later.',
    fix: 'Check that the authorization server runs and can be reached from here: network policy, name, tls.ca. cambist retries on its own.',
  },
  ERR_CREDENTIAL_UNAVAILABLE: {
    status: 503,
    phase: 'exchange',
    title: 'Credential of the proxy unavailable',
    detail: 'A secret, key or token of the proxy itself cannot be read: try again later.',
    fix: 'Provide the file or variable that the log names. A file must be readable and not empty; cambist reads it again on its own. A variable is read at startup only.',
  },
  ERR_UPSTREAM_UNREACHABLE: {
    status: 502,
    phase: 'upstream',
    title: 'Backend unreachable',
    detail: 'The backend of this route cannot be reached, or closed the connection before it responded.',
    fix: "Check that the backend runs and can be reached from here: the route's upstream, network policy, name.",
  },
  ERR_UPSTREAM_TLS: {
    status: 502,
    phase: 'upstream',
    title: 'Backend not trusted',
    detail:
      'The TLS certificate of the backend of this route is not trusted, or its port does not speak TLS: report it to the operator of the proxy.',
    fix: "Set the route's tls.ca to the certificate authority of the backend, or renew the backend's certificate. Check that the port serves https.",
  },
  ERR_UPSTREAM_REFUSED_TOKEN: {
    status: 502,
    phase: 'upstream',
    title: 'Backend refused the credential',
    detail:
      'The backend of this route refused the credential that the proxy sent: report it to the operator of the proxy.',
    fix: 'Compare the issuer, audience, scope, signing key and algorithm that the backend requires with the issued token that "cambist doctor --call" shows. Compare the clocks. With credential: secret, write a valid secret into its file.',
  },
  ERR_CROSS_ROUTE_REFERENCE: {
    status: 502,
    phase: 'upstream',
    title: 'Backend points to another route',
    detail:
      'The response of the backend would lead this request to another backend: report it to the operator of the proxy.',
    fix: 'The log names the header and the other route. Make the backend name its own address. If you did not expect this, treat the backend as compromised.',
  },
  ERR_UPSTREAM_TIMEOUT: {
    status: 504,
    phase: 'upstream',
    title: 'Backend too slow',
    detail: 'The backend of this route sent no response headers in time, or stopped reading the request.',
    fix: "Find out why the backend is slow, or raise the route's timeouts.response_headers or timeouts.stall.",
  },
  ERR_REQUEST_TIMEOUT: {
    status: 408,
    phase: 'any',
    title: 'Request incomplete',
    detail: 'The body of this request did not arrive in time: send it again.',
    fix: "Find out why the caller sends its body slowly or not at all, or raise the route's timeouts.stall.",
  },
  ERR_SHUTTING_DOWN: {
    status: 503,
    phase: 'any',
    title: 'Shutting down',
    detail: 'This proxy is shutting down and accepts no new requests.',
    fix: 'Nothing to fix: this process is shutting down.',
  },
  ERR_OVERLOADED: {
    status: 503,
    phase: 'any',
    title: 'Too many requests in flight',
    detail: 'This proxy has reached its limit of requests in flight, in total or for this backend: try again later.',
    fix: 'If one route has most requests in flight, find out why its backend is slow. Otherwise, raise limits.max_in_flight, or run more proxies. If streams pile up, find the client that does not close them.',
  },
  ERR_REVOCATIONS_UNKNOWN: {
    status: 503,
    phase: 'subject',
    title: 'Revocations unknown',
    detail: 'The proxy has just started and does not know yet which tokens are revoked: try again later.',
    fix: 'Start the server of cache.shared, or fix what /status.json says about it. Until then, send requests to replicas that are ready.',
  },
  ERR_AUDIT_UNAVAILABLE: {
    status: 503,
    phase: 'any',
    title: 'Audit trail unavailable',
    detail: 'The proxy must record every request and cannot write its records: try again later.',
    fix: 'Check the destination in audit.to: free disk space, or start the collector. The log has the error. With on_full: drop, cambist serves without records.',
  },
  ERR_INTERNAL: {
    status: 500,
    phase: 'any',
    title: 'Internal error',
    detail: 'This proxy failed unexpectedly: search its log for this request id.',
    fix: 'Report it, with the log line.',
  },
} as const satisfies Record<string, ErrorDescription>;

/** The stable name of an error: `code` in the response to the caller, `error` in logs and metrics. */
export type ErrorCode = keyof typeof CATALOGUE;

interface ErrorDescription {
  readonly status: number;
  readonly phase: ErrorPhase;
  readonly title: string;
  readonly detail: string;
  readonly fix: string;
}

export const ERROR_CODES = Object.keys(CATALOGUE) as readonly ErrorCode[];

export function describeError(code: ErrorCode): ErrorDescription {
  return CATALOGUE[code];
}

export function errorCodesOf(phase: ErrorPhase): ErrorCode[] {
  return ERROR_CODES.filter((code) => CATALOGUE[code].phase === phase);
}
