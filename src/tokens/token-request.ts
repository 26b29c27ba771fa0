import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { ConsentRules, Route, TokenTarget } from '../config/route.ts';
import type { Cause } from '../observability/token-observer.ts';
import { oncePer, type Secret } from '../secrets/secret.ts';
import type { HasLifetime } from './lifetime.ts';
import { constantField, type FormField, formField, type SentValue } from './sent-values.ts';
import { claimsOf, type Subject } from './subject.ts';
import { type Claims, jsonDigest } from './token-text.ts';

/** The party that a token request is for. It decides where the request waits, and never which token is issued. */
export interface Requester {
  /** Digest that identifies the caller; undefined when the token is for cambist itself. */
  readonly caller: string | undefined;
  /** Address that the caller connects from; undefined on a Unix socket. */
  readonly peer: string | undefined;
}

/** A requester whose history at one authorization server is known. */
export interface RankedRequester extends Requester {
  /** The server has issued a token for this caller before. Always true for cambist itself. */
  readonly accepted: boolean;
}

/** cambist itself: no caller is involved. */
export const CAMBIST: Requester = { caller: undefined, peer: undefined };

/**
 * Identifies the party that a token request is made for.
 *
 * A verified subject token identifies its caller by `iss` and `sub`, so a renewed token is still the same caller. Nothing in
 * an unverified token can be trusted, so there the token itself is the identity.
 * @param subject undefined where the token is for cambist itself
 */
export function requesterOf(route: Route, subject: Subject | undefined, peer: string | undefined): Requester {
  const { own, verify } = route.subjectToken;
  if (subject === undefined || own !== undefined) return CAMBIST;
  return { caller: (verify && verifiedIdentity(subject)) ?? subject.digest, peer };
}

/** Digest of the user that a verified token names. JSON starts with a bracket, so it never equals the digest of a token. */
function verifiedIdentity(subject: Subject): string | undefined {
  const { iss, sub } = claimsOf(subject) ?? {};
  if (typeof iss !== 'string' || typeof sub !== 'string') return undefined;
  return jsonDigest([iss, sub]);
}

/** The result of a chain's first leg. The second leg exchanges it for a token. It never reaches a backend. */
export interface Assertion extends HasLifetime {
  readonly assertion: Secret;
  /** Digests of the values that the first leg sent. The second server's token must repeat none of them. */
  readonly sent: ReadonlySet<string>;
}

export interface TokenRequest {
  readonly routeName: string;
  readonly requester: Requester;
  /** Only reports use it. */
  readonly grantKind: Grant['kind'];
  /** Called when the request has its turn, so that a credential file is read just before use. */
  readonly grant: () => Grant | Promise<Grant>;
  readonly target: TokenTarget;
  readonly expect: 'token' | 'assertion';
  /** Values that an issued token must not repeat, beside those of the request itself. */
  readonly earlier?: EarlierValues | undefined;
  /** The URLs at which the caller may be told to consent. Undefined: none. */
  readonly consent: ConsentRules | undefined;
  /** Epoch milliseconds; undefined when the subject token does not state it, or there is no subject token. */
  readonly subjectExpiresAtMs: number | undefined;
  /** A token for cambist itself has no subject. Only reports use it. */
  readonly subject?: Subject | undefined;
  /** `subject_token.verify` of the route has checked the subject token. */
  readonly isSubjectVerified?: boolean;
  /** True for a request in the background, while the current token is still valid. */
  readonly refresh: boolean;
  readonly cause?: Cause | undefined;
}

interface EarlierValues {
  readonly values: readonly SentValue[];
  /** Digests of values that are not kept. */
  readonly digests: ReadonlySet<string>;
}

/** The credential that a token is requested with. */
export type Grant =
  | {
      readonly kind: 'token_exchange';
      readonly subjectToken: string;
      readonly subjectTokenType: string;
      readonly actor: { readonly token: string; readonly type: string; readonly claims?: Claims } | undefined;
    }
  | { readonly kind: 'token_vault'; readonly subjectToken: string; readonly subjectTokenType: string }
  | {
      readonly kind: 'jwt_bearer';
      readonly assertion: string;
      /** `chain`: the assertion is the result of the first leg, not the caller's own token. */
      readonly from: 'caller' | 'chain';
    }
  | { readonly kind: 'client_credentials' };

/** A request for a token for cambist itself. @param routeName the route that needs it first, or the purpose, for the log and the metrics */
export function ownTokenRequest(
  routeName: string,
  scope: string | undefined,
  expect: TokenRequest['expect'],
): TokenRequest {
  return {
    routeName,
    requester: CAMBIST,
    grantKind: 'client_credentials',
    grant: () => ({ kind: 'client_credentials' }),
    target: ownTarget(scope),
    expect,
    consent: undefined,
    subjectExpiresAtMs: undefined,
    refresh: false,
  };
}

/** The server that gets a token of cambist itself checks its audience. */
export function ownTarget(scope: string | undefined): TokenTarget {
  return { resource: [], audience: [], scope, requestedTokenType: undefined, expectAudience: 'any' };
}

/**
 * Builds the form of a token request, without client authentication. Pure, so that `explain` shows exactly what is sent.
 * @see RFC 8693 section 2.1, RFC 7523 section 2.1, RFC 8707 section 2, RFC 6749 section 4.4.2
 */
export function buildTokenRequest(grant: Grant, target: TokenTarget, server: AuthorizationServer): FormField[] {
  const settings = settingsOf(target).filter(({ name }) => isSentWith(grant.kind, name));
  return [...grantFields(grant), ...settings, ...extraFields(server)];
}

const settingsOf = oncePer((target: TokenTarget): readonly FormField[] => [
  ...target.resource.map((resource) => constantField('resource', resource)),
  ...target.audience.map((audience) => constantField('audience', audience)),
  ...optionalField('scope', target.scope),
  ...optionalField('connection', target.connection),
  ...optionalField('requested_token_type', target.requestedTokenType),
]);

const extraFields = oncePer(({ extraParams }: AuthorizationServer): readonly FormField[] =>
  extraParams.map(([name, value]) => constantField(name, value)),
);

function optionalField(name: string, value: string | undefined): FormField[] {
  return value === undefined ? [] : [constantField(name, value)];
}

function isSentWith(kind: Grant['kind'], name: string): boolean {
  if (name === 'connection') return kind === 'token_vault';
  return name !== 'requested_token_type' || kind === 'token_exchange' || kind === 'token_vault';
}

const GRANT_TYPES = {
  token_exchange: constantField('grant_type', 'urn:ietf:params:oauth:grant-type:token-exchange'),
  token_vault: constantField(
    'grant_type',
    'urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token',
  ),
  jwt_bearer: constantField('grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer'),
  client_credentials: constantField('grant_type', 'client_credentials'),
} as const satisfies Record<Grant['kind'], FormField>;

function grantFields(grant: Grant): FormField[] {
  const type = GRANT_TYPES[grant.kind];
  switch (grant.kind) {
    case 'client_credentials':
      return [type];
    case 'jwt_bearer':
      return [type, formField('assertion', grant.assertion)];
    default: {
      const subject = [
        formField('subject_token', grant.subjectToken),
        formField('subject_token_type', grant.subjectTokenType),
      ];
      const actor = grant.kind === 'token_exchange' ? grant.actor : undefined;
      if (actor === undefined) return [type, ...subject];
      return [type, ...subject, formField('actor_token', actor.token), formField('actor_token_type', actor.type)];
    }
  }
}
