import type { AuthorizationServer, TokenTarget } from '../config/config.ts';

/** One form field; a name may come more than once. */
export type FormField = readonly [name: string, value: string];

/** What a token is asked for with. */
export type Grant =
  | {
      readonly kind: 'token_exchange';
      readonly subjectToken: string;
      readonly subjectTokenType: string;
      readonly actor: { readonly token: string; readonly type: string } | undefined;
    }
  | {
      readonly kind: 'jwt_bearer';
      readonly assertion: string;
      /** Whose it is: what the caller sent, or what the first leg of a chain has given for that. */
      readonly from: 'caller' | 'chain';
    }
  | { readonly kind: 'client_credentials' };

/**
 * The form of a token request, without client authentication. Pure: what `explain` shows is what is sent.
 * @see RFC 8693 section 2.1, RFC 7523 section 2.1, RFC 8707 section 2, RFC 6749 section 4.4.2
 */
export function buildTokenRequest(grant: Grant, target: TokenTarget, server: AuthorizationServer): FormField[] {
  const fields: FormField[] = grantFields(grant);
  for (const resource of target.resource) fields.push(['resource', resource]);
  for (const audience of target.audience) fields.push(['audience', audience]);
  if (target.scope !== undefined) fields.push(['scope', target.scope]);
  if (target.requestedTokenType !== undefined && grant.kind === 'token_exchange') {
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
    case 'jwt_bearer':
      return [
        ['grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer'],
        ['assertion', grant.assertion],
      ];
    case 'client_credentials':
      return [['grant_type', 'client_credentials']];
  }
}
