import { type Finding, type FindingCode, listed, problem, shortAscii } from './finding.ts';
import { type FailedExchange, inOrder, isEntra, type OAuthError } from './oauth-error.ts';
import { jsonBodyOf } from './recorded-request.ts';
import { serverPath } from './unreachable.ts';

/** A text about the request. `{client}` is cambist's client there, `{server}` a path in the config, and `{audience}` the values of this field. */
type Text = string | ((form: URLSearchParams) => string);

/** A cause that needs no more than texts. */
export interface KnownCause {
  readonly code: FindingCode;
  readonly is: (refusal: OAuthError, form: URLSearchParams, failed: FailedExchange) => boolean;
  readonly what: Text;
  readonly why?: Text;
  readonly fix: string;
}

export function findingOf({ code, is, what, why, fix }: KnownCause, failed: FailedExchange): Finding | undefined {
  const { refusal, server, request } = failed;
  const { form } = request;
  if (!is(refusal, form, failed)) return undefined;
  const client = `client "${server.clientId}"`;
  const names: Record<string, string | undefined> = { client, server: serverPath(server), name: server.name };
  const filled = (text: Text) =>
    (typeof text === 'string' ? text : text(form)).replace(
      /\{(\w+)\}/g,
      (_, name: string) => names[name] ?? listed(form.getAll(name)),
    );
  return problem(code, filled(what), { ...(why !== undefined && { why: filled(why) }), fix: filled(fix) });
}

/** Does the server's description match? */
export function says(pattern: RegExp): KnownCause['is'] {
  return ({ description }) => pattern.test(description);
}

/** Auth0's vault has no token before the user connected the account. */
export const VAULT_EMPTY = /^federated_connection_refresh_token_not_found$|^tokenset_not_found$/;

/** The caller's token is not for the client that exchanges it. */
export function subjectAudience(failed: FailedExchange): Finding | undefined {
  const { server, subject, refusal, show, hasSucceeded } = failed;
  const aud = subject?.aud === undefined ? 'has no readable "aud"' : `is for ${listed([subject.aud].flat(), show)}`;
  const what = "cambist may not exchange the caller's token because of its audience";
  if (/audience in (the )?ID token/i.test(refusal.description)) {
    return problem('subject_audience_refused', what, {
      why: `it ${aud}, but the provider in the workload identity pool allows other audiences`,
      fix: 'add its "aud" to the allowed audiences of the provider',
    });
  }
  const stated =
    /not within the token audience|AADSTS500131|assertion audience does not match|audience does not match client/i.test(
      refusal.description,
    );
  const likely =
    !hasSucceeded &&
    refusal.error === 'access_denied' &&
    subject?.aud !== undefined &&
    server.clientId !== undefined &&
    ![subject.aud].flat().includes(server.clientId);
  if (!stated && !(likely && !isDexOnToken(failed))) return undefined;
  return problem('subject_audience_lacks_client', stated ? what : "cambist may not exchange the caller's token", {
    why: stated
      ? `it ${aud}, but the server requires "${server.clientId}" among its audiences`
      : `it ${aud}: probably the server requires "${server.clientId}" among its audiences, or it refuses this user`,
    fix: isEntra(failed)
      ? `let the agent sign in for the scope api://${server.clientId}/.default, not for Graph or for itself`
      : `add "${server.clientId}" to the audience of the tokens of the client that callers sign in to (Keycloak: an audience mapper there)`,
  });
}

/** ZITADEL only issues audiences and scopes that the caller's token has. */
export function subjectLacksTarget({ request, subject, refusal, show }: FailedExchange): Finding | undefined {
  if (!/not found in (the )?subject/i.test(refusal.description)) return undefined;
  const scoped = refusal.error === 'invalid_scope';
  const asked = scoped ? (request.form.get('scope')?.split(' ') ?? []) : request.form.getAll('audience');
  const has = scoped || subject?.aud === undefined ? '' : `: it is for ${listed([subject.aud].flat(), show)}`;
  return problem('subject_lacks_target', `the caller's token lacks the requested ${listed(asked)}`, {
    why: `ZITADEL issues no more than the caller's token has${has}`,
    fix: scoped
      ? "let the agent sign in with these scopes, or remove them from the route's scope"
      : 'let the agent sign in with the scope urn:zitadel:iam:org:project:id:<project of the backend>:aud as well, and name that project as the audience',
  });
}

/** The server does not accept tokens of the caller's issuer. */
export function subjectIssuer(failed: FailedExchange): Finding | undefined {
  const { server, subject, refusal, request, show } = failed;
  const iss = subject?.iss;
  const of = iss === undefined ? 'an issuer that cannot be read' : `issuer "${show(iss)}"`;
  const what = `the server refused the caller's token`;
  if (inOrder(refusal, /connecting to /i, /issuer/i)) {
    return problem('subject_issuer_unreachable', what, {
      why: `the server cannot fetch the metadata or keys of ${of}, or they lack the key that signed the token`,
      fix: 'make /.well-known/openid-configuration and jwks_uri of that issuer reachable for the server, or upload the keys to it (Google: the JWKS of the provider)',
    });
  }
  const stated =
    /issuer in (the )?ID token|token from issuer/i.test(refusal.description) ||
    inOrder(refusal, /subject[_ ]token/i, /\bissuer/i);
  // Tokens of these types must be the server's own. Other types may come from other issuers.
  const type = request.form.get('subject_token_type') ?? ':access_token';
  const own = /:(access_token|id_token)$/.test(type) && !failed.secondLeg && !isDexOnToken(failed);
  const likely =
    own && isTokenBlamed(failed) && iss !== undefined && server.issuer !== undefined && iss !== server.issuer;
  if (!stated && !likely) return undefined;
  return problem('subject_issuer_differs', what, {
    why: `the token is from ${of}, but the server is "${server.issuer ?? server.tokenEndpoint}"`,
    fix: 'use a token of this server, or let it trust that issuer (Okta: trusted servers; authentik: federated providers; Google: the issuer of the provider); if both are one server under two names, give it one fixed name (Keycloak: its hostname setting)',
  });
}

export function subjectRefused(failed: FailedExchange): Finding | undefined {
  if (!isTokenBlamed(failed)) return undefined;
  const { server, subject, show } = failed;
  const aud = subject?.aud === undefined ? '' : ` (its "aud" is ${listed([subject.aud].flat(), show)})`;
  return problem('subject_token_refused', "the server refused the caller's token", {
    why: `it may be expired or revoked, its session may be over, it may have another type than subject_token.type, or it may not be for "${server.clientId}"${aud}`,
    fix: isDexOnToken(failed)
      ? 'use an ID token of the issuer behind the connector of connector_id, for the client that this connector has there'
      : 'obtain a new one; if that is refused as well, check subject_token.type and the audience of the tokens that callers sign in for',
  });
}

/** Tells whether the server blames the token in the request. */
export function isTokenBlamed(failed: FailedExchange): boolean {
  const { error, description } = failed.refusal;
  if (/^invalid_(grant|token)$/.test(error) || isDexOnToken(failed)) return true;
  return error === 'invalid_request' && (description === '' || /token|assertion/i.test(description));
}

/** Dex's response, without a description, to a subject token that its connector does not accept. */
function isDexOnToken({ refusal }: FailedExchange): boolean {
  return refusal.status === 401 && refusal.error === 'access_denied' && refusal.description === '';
}

/** Groups and policies of users show in the same error codes as a wrong audience. */
export function callerRefused({ hasSucceeded, refusal }: FailedExchange): Finding | undefined {
  if (!hasSucceeded || !/^(access_denied|invalid_target)$/.test(refusal.error)) return undefined;
  return problem('caller_refused', `the server refuses this caller: ${shortAscii(refusal.shown)}`, {
    why: 'the same exchange has succeeded for a caller since cambist started, so the client and the target are right',
    fix: 'compare the groups, roles and consents of this user at the server',
  });
}

/** Okta names the page of the consent. */
export function consentPage({ request, refusal }: FailedExchange): Finding | undefined {
  const { interaction_uri: uri } = jsonBodyOf(request);
  if (refusal.error !== 'interaction_required' && !VAULT_EMPTY.test(refusal.error)) return undefined;
  if (typeof uri !== 'string' || !URL.canParse(uri)) return undefined;
  const host = shortAscii(new URL(uri).host);
  return problem('user_consent_missing', 'this user must consent first', {
    why: `the server names a page at "${host}"; callers are told its URL if interaction.hosts lists the host`,
    fix: `list "${host}" in interaction.hosts, then let the user call the backend through cambist and open the URL`,
  });
}
