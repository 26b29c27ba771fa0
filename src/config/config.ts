import type { CredentialSource } from '../secrets/credential.ts';

/**
 * The config as the rest of cambist sees it: defaults merged, durations in milliseconds, sizes in bytes, URLs split,
 * references resolved. `load.ts` makes it from a file; nothing changes it afterwards.
 */

export type Listen =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent';

/** How cambist proves to a token endpoint who it is (RFC 6749 section 2.3, RFC 7523 section 2.2). */
export type ClientAuth =
  | { readonly method: 'none' }
  | {
      readonly method: 'client_secret_basic';
      readonly clientSecret: CredentialSource;
      /** `form`: id and secret are form-urlencoded before base64, as RFC 6749 section 2.3.1 wants; `raw`: they are not. */
      readonly basicEncoding: 'form' | 'raw';
    }
  | { readonly method: 'client_secret_post'; readonly clientSecret: CredentialSource }
  | ({
      readonly method: 'client_secret_jwt';
      readonly clientSecret: CredentialSource;
      /** JWS algorithm: HS256, HS384 or HS512. */
      readonly alg: string;
    } & AssertionRules)
  | ({
      readonly method: 'private_key_jwt';
      readonly privateKey: CredentialSource;
      /** JWS algorithm; undefined: what the key suggests (RS256, ES256/384/512, EdDSA). */
      readonly alg: string | undefined;
      readonly keyId: string | undefined;
      /** PEM of the key's certificate, whose thumbprint the assertion then bears (`x5t#S256`, RFC 7515 section 4.1.8). */
      readonly certificate: CredentialSource | undefined;
    } & AssertionRules)
  | {
      readonly method: 'client_assertion';
      /** A JWT that others put there and renew. */
      readonly clientAssertion: CredentialSource;
      /** Full URN, the `client_assertion_type`. */
      readonly clientAssertionType: string;
    }
  /** The certificate is that of the server's `tls` (RFC 8705 section 2). */
  | { readonly method: 'tls_client_auth' };

/** What goes into an assertion that cambist signs itself. */
export interface AssertionRules {
  /** `aud` of the assertion; undefined: the issuer, or the token endpoint where no issuer is known. */
  readonly assertionAudience: string | undefined;
  readonly assertionLifetimeMs: number;
}

/** PEM files for one TLS peer. */
export interface TlsFiles {
  readonly ca: string | undefined;
  readonly certificate: string | undefined;
  readonly privateKey: string | undefined;
}

export interface AuthorizationServer {
  /** Its key in the file, and its label in metrics. */
  readonly name: string;
  readonly issuer: string | undefined;
  /** Given: nothing is discovered. */
  readonly tokenEndpoint: string | undefined;
  /** May a discovered endpoint be plain http to any host? */
  readonly allowInsecureHttp: boolean;
  readonly clientId: string | undefined;
  readonly clientAuth: ClientAuth;
  /** What trades the subject token: RFC 8693, or RFC 7523 with it as `assertion`. */
  readonly grant: 'token_exchange' | 'jwt_bearer';
  readonly extraParams: readonly (readonly [name: string, value: string])[];
  readonly timeoutMs: number;
  readonly tls: TlsFiles | undefined;
  /** Prove possession of a key (RFC 9449), and take tokens that are bound to it. */
  readonly dpop: boolean;
}

/**
 * Check of the `aud` of an issued JWT. A list: `aud` must contain one of these. `only`: it must also contain nothing else.
 * `any`: no check.
 */
export type ExpectedAudience = readonly string[] | { readonly only: readonly string[] } | 'any';

/** What the issued token is to be for, and how that is checked. */
export interface TokenTarget {
  /** RFC 8707 `resource`, sent verbatim, one parameter each. */
  readonly resource: readonly string[];
  /** RFC 8693 `audience`, one parameter each. */
  readonly audience: readonly string[];
  readonly scope: string | undefined;
  /** Full URN; undefined: not sent. */
  readonly requestedTokenType: string | undefined;
  readonly expectAudience: ExpectedAudience;
}

export interface SubjectTokenSource {
  /** Lower-case header name. With `file` nothing is taken from it; what callers send in it stays here all the same. */
  readonly header: string;
  /** Full URN, the `subject_token_type`. */
  readonly type: string;
  /** In place of a header: the token of cambist's own work, as it is at each use. */
  readonly file: CredentialSource | undefined;
  /** Undefined: the authorization server alone says whether the token is good. */
  readonly verify: SubjectVerification | undefined;
}

/** What a subject token is held to before it is exchanged. */
export interface SubjectVerification {
  readonly issuer: string;
  /** One of these must be in `aud`. */
  readonly audience: readonly string[] | 'any';
  /** Undefined: from the issuer's metadata. */
  readonly jwksUri: string | undefined;
  /** PEM file of whom to trust for both, that of the authorization server of the same issuer. */
  readonly ca: string | undefined;
  readonly allowInsecureHttp: boolean;
}

/** The first of two legs: where the assertion comes from that the route's own authorization server is shown. */
export interface Chain {
  readonly authorizationServer: AuthorizationServer;
  readonly assertion: 'id_jag' | 'jwt';
  /** The issuer of the second server, whom the assertion is asked for. */
  readonly audience: string;
  /** One of these must be in the `aud` of the assertion. */
  readonly expectAudience: readonly string[];
}

export interface ActorTokenSource {
  readonly source: CredentialSource;
  /** Full URN, the `actor_token_type`. */
  readonly type: string;
}

/** What cambist does about the bearer of a request on a route. */
export type Credential =
  | {
      readonly kind: 'exchange';
      readonly authorizationServer: AuthorizationServer;
      readonly target: TokenTarget;
      readonly actorToken: ActorTokenSource | undefined;
      readonly chain: Chain | undefined;
      readonly onMissingSubject: 'deny' | 'client_credentials';
    }
  | {
      readonly kind: 'client_credentials';
      readonly authorizationServer: AuthorizationServer;
      readonly target: TokenTarget;
    }
  | { readonly kind: 'passthrough' }
  | { readonly kind: 'none' };

export interface Match {
  /** Lower-case; `*.suffix` spans one or more labels; undefined: any host. */
  readonly host: string | undefined;
  /** Prefix in whole segments; `/` matches all; no trailing slash otherwise. */
  readonly path: string;
  /** Undefined: every request with this host and path. */
  readonly conditions: Conditions | undefined;
}

/** What a route wants of a request beside host and path; at least one is there. A pattern is exact, or ends in `*`. */
export interface Conditions {
  /** Upper-case HTTP methods. */
  readonly methods: readonly string[] | undefined;
  /** Patterns of the JSON-RPC method in the body. */
  readonly mcpMethods: readonly string[] | undefined;
  /** Patterns of the tool, prompt, resource or task that the message is about. */
  readonly mcpNames: readonly string[] | undefined;
}

export interface Upstream {
  /** `scheme://host[:port]`, without default port. */
  readonly origin: string;
  /** `host[:port]`, the `Host` header that goes upstream. */
  readonly host: string;
  /** What replaces the matched prefix: `''` or `/…`, as written in the file. */
  readonly path: string;
}

export interface Route {
  readonly name: string;
  readonly match: Match;
  readonly upstream: Upstream;
  /** Where the caller's token is; on every kind of route, since it must not leave by any. */
  readonly subjectToken: SubjectTokenSource;
  readonly credential: Credential;
  /** 0 turns the first two off. */
  readonly timeouts: {
    readonly connectMs: number;
    readonly responseHeadersMs: number;
    /** How long an upload may wait without a byte in either direction. */
    readonly stallMs: number;
  };
  readonly retryBodyLimitBytes: number;
  /** Scopes that an upstream may ask for by 403, beside those of the target. */
  readonly stepUp: readonly string[];
  /** Origins of web pages that may call the route without a caller's token: scheme, host, and port unless default. */
  readonly allowedOrigins: readonly string[];
  /** Offer HTTP/2 to the upstream. */
  readonly http2: boolean;
  readonly tls: TlsFiles | undefined;
}

export interface Config {
  readonly listen: Listen;
  readonly admin: Listen;
  /** Permissions of the Unix sockets of `listen` and `admin`. */
  readonly socketMode: number;
  /** Public host names by which the admin listener is reached, in lower case. */
  readonly adminHosts: readonly string[];
  readonly log: {
    readonly level: LogLevel;
    /** From 0 to 1: the share of requests that went well whose line is written. */
    readonly sample: number;
  };
  /** Lower-case name of the header that is asked for the host before the request's own authority. */
  readonly hostHeader: string | undefined;
  readonly session: { readonly header: string };
  readonly cache: { readonly maxEntries: number; readonly maxAgeMs: number };
  readonly authorizationServers: readonly AuthorizationServer[];
  readonly routes: readonly Route[];
  readonly limits: {
    readonly maxInFlight: number;
    /** Of requests and tunnels to one origin. */
    readonly maxInFlightPerUpstream: number;
    readonly maxConnections: number;
    readonly maxHeaderBytes: number;
    readonly shutdownGraceMs: number;
  };
  /** Authorities that CONNECT may lead to without cambist looking in: `host:port`, lower-case. */
  readonly forwardProxy: { readonly connect: readonly string[] };
}
