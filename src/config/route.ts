import type { CredentialSource } from '../secrets/credential.ts';
import type { AuthorizationServer } from './authorization-server.ts';
import type { ExpectedAudience } from './expect-audience.ts';
import type { Match } from './match.ts';
import type { ActorTokenSource, SendTo, Timeouts } from './route-keys.ts';
import type { TlsFiles } from './sources.ts';
import type { Upstream } from './urls.ts';

/** The backend that a token is requested for, and the check of the issued token. */
export interface TokenTarget {
  /** RFC 8707 `resource`, sent verbatim, one parameter each. */
  readonly resource: readonly string[];
  /** RFC 8693 `audience`, one parameter each. */
  readonly audience: readonly string[];
  readonly scope: string | undefined;
  /** Full URN. Undefined: not sent. */
  readonly requestedTokenType: string | undefined;
  /** Name of the account provider at a token vault. */
  readonly connection?: string;
  readonly expectAudience: ExpectedAudience;
}

export interface SubjectTokenSource {
  /** Lower-case header name. It is never forwarded on other routes, and unused with `file`. */
  readonly header: string;
  /** Full URN, the `subject_token_type`. */
  readonly type: string;
  /** A token for work that has no caller, instead of a header. Read again when it changes. */
  readonly file: CredentialSource | undefined;
  /** Scopes that clients should request for the token, joined by single spaces. Safe in a quoted string, and never empty. */
  readonly scope: string | undefined;
  /** Undefined: only the authorization server checks the token. */
  readonly verify: SubjectVerification | undefined;
}

/** Check of a subject token before its exchange. */
export interface SubjectVerification {
  readonly issuer: string;
  /** One of these must be in `aud`. */
  readonly audience: readonly string[] | 'any';
  /** Undefined: from the issuer's metadata. */
  readonly jwksUri: string | undefined;
  /** PEM file of the CA for metadata and keys: the one of the authorization server with the same issuer. */
  readonly ca: string | undefined;
  readonly allowInsecureHttp: boolean;
  /** Undefined: the token must be a JWT, which is verified by the keys. With it, keys count only where `jwksUri` is set. */
  readonly introspection?: Introspection | undefined;
}

/** The authorization server says whether a token is active, and whose it is (RFC 7662). */
export interface Introspection {
  /** The server that is asked, as its client. */
  readonly authorizationServer: AuthorizationServer;
  /** Undefined: from the metadata of the server. */
  readonly endpoint: string | undefined;
  /** Longest use of one result. */
  readonly cacheMs: number;
}

/** The first of two requests: it gets the assertion for the route's own authorization server. */
export interface Chain {
  readonly authorizationServer: AuthorizationServer;
  readonly assertion: 'id_jag' | 'jwt';
  /** The issuer of the second server. */
  readonly audience: string;
  /** One of these must be in the `aud` of the assertion. */
  readonly expectAudience: readonly string[];
}

/** The token that a route sends to its backend. */
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
  /** An API key, or a personal token that another company issued. */
  | { readonly kind: 'secret'; readonly source: CredentialSource }
  | { readonly kind: 'passthrough' }
  | { readonly kind: 'none' };

/** The two kinds of credential that are a token from an authorization server. */
export type TokenCredential = Extract<Credential, { authorizationServer: AuthorizationServer }>;

/** The URLs at which users consent. Hosts beside those of the operator's list may be part of a phishing attempt. */
export interface ConsentRules {
  /** Lower case, with a port unless it is 443. The authorization server may name URLs of these hosts. */
  readonly hosts: readonly string[];
  /** Used where the authorization server names none. */
  readonly url: string | undefined;
}

export interface Route {
  readonly name: string;
  readonly match: Match;
  readonly upstream: Upstream;
  /** Source of the caller's token. Set on every route, because no route may forward it by accident. */
  readonly subjectToken: SubjectTokenSource;
  readonly credential: Credential;
  /** Undefined: callers never learn where to consent. */
  readonly consent: ConsentRules | undefined;
  /** Undefined: `Authorization`, with the scheme of the token. */
  readonly send: SendTo | undefined;
  readonly timeouts: Timeouts;
  readonly retryBodyLimitBytes: number;
  /** Further scopes that an upstream may request by 403. */
  readonly stepUp: readonly string[];
  /** Origins of web pages that may call the route without a caller's token: scheme, host, and port unless default. */
  readonly allowedOrigins: readonly string[];
  readonly tls: TlsFiles | undefined;
}
