import type { CredentialSource } from '../secrets/credential.ts';
import type { AuthorizationServer } from './authorization-server.ts';
import { type Match, readsMessage } from './match.ts';
import type { RouteKeys } from './route-keys.ts';
import type { ExpectedAudience } from './targets.ts';
import type { Upstream } from './urls.ts';
import type { SubjectVerification } from './verification.ts';

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
  /** Lower-case header name. It is never forwarded on other routes, and unused with `own`. */
  readonly header: string;
  /** Full URN, the `subject_token_type`. */
  readonly type: string;
  /** A token for work that has no caller, instead of a header. Read again when it changes. */
  readonly own: CredentialSource | undefined;
  /** Scopes that clients should request for the token, joined by single spaces. Safe in a quoted string, and never empty. */
  readonly scope: string | undefined;
  /** How cambist verifies the token. Undefined: only the authorization server checks it. */
  readonly verify: SubjectVerification | undefined;
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
      readonly actorToken: RouteKeys['actorToken'];
      readonly chain: Chain | undefined;
      readonly onMissingSubject: RouteKeys['onMissingSubject'];
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

type KeptKeys = 'agents' | 'timeouts' | 'retryBodyLimitBytes' | 'stepUp' | 'allowedOrigins' | 'tls' | 'unattended';

export interface Route extends Pick<RouteKeys, KeptKeys> {
  /** `TEAM/NAME` for one of a team. */
  readonly name: string;
  /** The team that owns it. Undefined: it is in the main file. */
  readonly team?: string;
  readonly match: Match;
  readonly upstream: Upstream;
  /** Source of the caller's token. Set on every route, because no route may forward it by accident. */
  readonly subjectToken: SubjectTokenSource;
  readonly credential: Credential;
  /** The URLs at which callers may consent. Undefined: they never learn where to. */
  readonly consent: ConsentRules | undefined;
  /** The header for the credential. Undefined: `Authorization`, with the scheme of the token. */
  readonly send: RouteKeys['send'];
}

/**
 * Why no decision for a data plane uses the route. Undefined: it can be used.
 * @param isNamed the data plane names the route, and cambist does not look at the message
 */
export function whyUndecidable({ credential, consent, match }: Route, isNamed: boolean): string | undefined {
  if ('authorizationServer' in credential && credential.authorizationServer.dpop) {
    return 'its tokens are bound to a key, with a proof for each request (dpop): use it through listen';
  }
  if (consent !== undefined) {
    return 'it asks users for consent in a second request (consent_url, interaction): use it through listen';
  }
  return isNamed && readsMessage(match) ? 'it depends on the message: set decisions.routes_by to match' : undefined;
}

/** Lower-case name of the header that has the credential of the route. Undefined: cambist adds none. */
export function carrierOf({ credential, send }: Route): string | undefined {
  if (credential.kind === 'none' || credential.kind === 'passthrough') return undefined;
  return send?.header.toLowerCase() ?? 'authorization';
}

/** cambist's own actor token. Undefined without an actor token, and where it is the token of the agent. */
export function ownActor({ actorToken }: Extract<Credential, { kind: 'exchange' }>): CredentialSource | undefined {
  return actorToken === undefined || actorToken.source === 'agent' ? undefined : actorToken.source;
}

/** Tells whether the actor token of a route is that of the agent. */
export function sendsAgentToken({ credential }: Pick<Route, 'credential'>): boolean {
  return credential.kind === 'exchange' && credential.actorToken?.source === 'agent';
}

/** Tells whether a route exchanges, forwards or verifies the token of a caller, where there is one. */
export function readsCaller(route: Pick<Route, 'credential' | 'subjectToken'>): boolean {
  const { credential, subjectToken } = route;
  if (credential.kind === 'exchange') return subjectToken.own === undefined;
  return credential.kind === 'passthrough' || needsCaller(route);
}

/** Tells whether some requests without a caller's token get a token of cambist's own client. */
export function usesOwnToken({ credential, unattended }: Pick<Route, 'credential' | 'unattended'>): boolean {
  if (credential.kind !== 'exchange') return false;
  return [credential.onMissingSubject, unattended].includes('client_credentials');
}

/** Tells whether a request without a caller's token gets 401, unless it is `unattended`. Other routes forward it, with or without cambist's own token. */
export function needsCaller({ credential, subjectToken }: Pick<Route, 'credential' | 'subjectToken'>): boolean {
  if (credential.kind === 'secret') return subjectToken.verify !== undefined;
  return credential.kind === 'exchange' && credential.onMissingSubject === 'deny' && subjectToken.own === undefined;
}
