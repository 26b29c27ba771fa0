import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { ConsentRules, TokenTarget } from '../config/route.ts';
import type { Cause } from '../observability/token-observer.ts';
import type { FormField } from './form-encoding.ts';
import { CAMBIST, type Requester } from './requester.ts';
import type { SentValue } from './sent-values.ts';
import type { Subject } from './subject.ts';
import type { Claims } from './token-text.ts';

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
  const fields: FormField[] = grantFields(grant);
  for (const resource of target.resource) fields.push(['resource', resource]);
  for (const audience of target.audience) fields.push(['audience', audience]);
  if (target.scope !== undefined) fields.push(['scope', target.scope]);
  if (target.connection !== undefined && grant.kind === 'token_vault') fields.push(['connection', target.connection]);
  if (target.requestedTokenType !== undefined && (grant.kind === 'token_exchange' || grant.kind === 'token_vault')) {
    fields.push(['requested_token_type', target.requestedTokenType]);
  }
  return [...fields, ...server.extraParams];
}

function grantFields(grant: Grant): FormField[] {
  switch (grant.kind) {
    case 'token_exchange': {
      const fields: FormField[] = [
        ['grant_type', 'urn:ietf:params:oauth:grant-type:token-exchange'],
        ['subject_token', grant.subjectToken],
        ['subject_token_type', grant.subjectTokenType],
      ];
      if (grant.actor !== undefined) {
        fields.push(['actor_token', grant.actor.token], ['actor_token_type', grant.actor.type]);
      }
      return fields;
    }
    case 'token_vault':
      return [
        ['grant_type', 'urn:auth0:params:oauth:grant-type:token-exchange:federated-connection-access-token'],
        ['subject_token', grant.subjectToken],
        ['subject_token_type', grant.subjectTokenType],
      ];
    case 'jwt_bearer':
      return [
        ['grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
        ['assertion', grant.assertion],
      ];
    case 'client_credentials':
      return [['grant_type', 'client_credentials']];
  }
}
