import { CLIENT_CAUSES, unavailableFinding } from './client-refusal.ts';
import { type Finding, problem, shortAscii } from './finding.ts';
import { type Cause, type FailedExchange, findingOf, isEntra, says } from './oauth-error.ts';
import { jsonBodyOf } from './recorded-request.ts';

/**
 * Explains why a server refused an exchange, and how to fix it, without the server's words. Error messages of real servers are
 * cases of its tests.
 */
export function exchangeRefusal(failed: FailedExchange): Finding {
  const { error, description, status } = failed.refusal;
  // A refusal by a gateway, or an address without a token endpoint. Some servers refuse the client without a body.
  if (error === '' && description === '' && status !== 401) return unavailableFinding(failed.request);
  return (
    findingOf(failed, CAUSES) ??
    problem('request_refused', 'the server refused the exchange', {
      fix: "look for the server in config/common-mistakes.md, and check the server's log for this moment: it often says more than the response",
    })
  );
}

/** Auth0's vault has no token before the user connected the account. */
const VAULT_EMPTY = /^federated_connection_refresh_token_not_found$|^tokenset_not_found$/;

/** Okta names the page of the consent. */
function consentPageOf({ request, refusal }: FailedExchange): URL | undefined {
  const { interaction_uri: uri } = jsonBodyOf(request);
  if (refusal.error !== 'interaction_required' && !VAULT_EMPTY.test(refusal.error)) return undefined;
  return typeof uri === 'string' && URL.canParse(uri) ? new URL(uri) : undefined;
}

/** Tells whether the server blames the token in the request. Dex does so without a description. */
function isTokenBlamed({ refusal: { status, error, description } }: FailedExchange): boolean {
  if (/^invalid_(grant|token)$/.test(error)) return true;
  if (error === 'access_denied') return status === 401 && description === '';
  return error === 'invalid_request' && (description === '' || /token|assertion/i.test(description));
}

/** Tells whether the server blames a token of another issuer that must be its own. Other types may come from other issuers. */
function isForeign(failed: FailedExchange): boolean {
  const { server, subject, request, secondLeg } = failed;
  const type = request.form.get('subject_token_type') ?? ':access_token';
  const isOwn = /:(access_token|id_token)$/.test(type) && !secondLeg;
  if (!isOwn || subject?.iss === undefined || server.issuer === undefined) return false;
  return subject.iss !== server.issuer && isTokenBlamed(failed);
}

const LACKS_CLIENT = {
  code: 'subject_audience_lacks_client',
  fix: (failed: FailedExchange) =>
    isEntra(failed)
      ? 'let the agent sign in for the scope api://{client_id}/.default, not for Graph or for itself'
      : 'add "{client_id}" to the audience of the tokens of the client that callers sign in to (Keycloak: an audience mapper there)',
} as const;

/** The most specific comes first and takes precedence. */
const CAUSES: readonly Cause[] = [
  {
    code: 'audience_mapper_missing',
    is: says(/requested audience not available/i),
    what: 'this client may not request the audience',
    why: "Keycloak only selects from the audiences that the client's own mappers would add, and no mapper adds {audience}",
    fix: 'give {client} an audience mapper (oidc-audience-mapper) for {audience}, or a client scope that has one',
  },
  {
    code: 'audience_unknown',
    is: ({ error, description }) =>
      (error === 'invalid_client' && /^audience not found/i.test(description)) ||
      /service not found/i.test(description),
    what: 'the server does not know {audience}',
    why: 'at Keycloak "audience" is the client id of the backend, at Auth0 the identifier of an API',
    fix: "register a client (Keycloak) or an API (Auth0) named {audience}, or set the route's audience to its exact name",
  },
  {
    code: 'target_not_permitted',
    is: says(/policy evaluation failed|not authorized to (access|get token)|attribute condition/i),
    what: 'no token for {audience} is allowed here',
    why: 'a policy of the server does not allow it for this client, grant, user and scope together',
    fix: 'allow it for {client} (Okta: an access policy with a rule for the grant Token Exchange; Auth0: a grant of the application for the API; tokendings: spec.accessPolicy.inbound.rules of the backend; Google: the attribute condition of the provider)',
  },
  {
    ...LACKS_CLIENT,
    is: says(
      /not within the token audience|AADSTS500131|assertion audience does not match|audience does not match client/i,
    ),
    what: "cambist may not exchange the caller's token because of its audience",
    why: 'it {aud}, but the server requires "{client_id}" among its audiences',
  },
  {
    ...LACKS_CLIENT,
    is: ({ error }, _, failed) =>
      error === 'access_denied' &&
      !isTokenBlamed(failed) &&
      !failed.hasSucceeded &&
      failed.server.clientId !== undefined &&
      failed.subject?.aud !== undefined &&
      ![failed.subject.aud].flat().includes(failed.server.clientId),
    what: "cambist may not exchange the caller's token",
    why: 'it {aud}: probably the server requires "{client_id}" among its audiences, or it refuses this user',
  },
  {
    code: 'subject_issuer_differs',
    is: ({ description }, _, failed) =>
      /issuer in (the )?ID token|token from issuer/i.test(description) ||
      (/subject[_ ]token/i.test(description) && /\bissuer/i.test(description)) ||
      isForeign(failed),
    what: "the server refused the caller's token",
    why: ({ server }) => `the token is from {iss}, but the server is "${server.issuer ?? server.tokenEndpoint}"`,
    fix: 'use a token of this server, or let it trust that issuer (Okta: trusted servers; authentik: federated providers; Google: the issuer of the provider; Dex: the connector); if both are one server under two names, give it one fixed name (Keycloak: its hostname setting)',
  },
  {
    // Without the parameter, Entra takes the assertion for something else.
    code: 'on_behalf_of_missing',
    is: (_, form, failed) => isEntra(failed) && form.has('assertion') && !form.has('requested_token_use'),
    what: 'the request lacks requested_token_use',
    why: 'Entra requires requested_token_use beside the assertion',
    fix: 'set {server}.extra_params: { requested_token_use: on_behalf_of }',
  },
  {
    code: 'scope_format',
    is: ({ error, description }, _, failed) =>
      /AADSTS(70011|1002012|28003|500011|900144)\b/.test(description) || (isEntra(failed) && error === 'invalid_scope'),
    what: ({ request: { form } }) => `the scope ${form.has('scope') ? '{scope} is refused' : 'is missing'}`,
    why: 'Entra names the backend by its scope only: the application id URI, a slash, and .default or one scope',
    fix: "set the route's scope: api://<application id of the backend>/.default",
  },
  {
    // Groups and policies of users show in the same error codes as a wrong audience.
    code: 'caller_refused',
    is: ({ error }, _, { hasSucceeded }) => hasSucceeded && /^(access_denied|invalid_target)$/.test(error),
    what: ({ refusal }) => `the server refuses this caller: ${shortAscii(refusal.shown)}`,
    why: 'the same exchange has succeeded for a caller since cambist started, so the client and the target are right',
    fix: 'compare the groups, roles and consents of this user at the server',
  },
  {
    code: 'resource_refused',
    is: ({ error, description }, form) =>
      form.has('resource') &&
      (error === 'invalid_target' ||
        /AADSTS901002/.test(description) ||
        (/\bresource\b/i.test(description) && /invalid_request|invalid_target|INVALID_ARGUMENT/.test(error))),
    what: 'the resource {resource} is refused',
    why: 'probably the server does not know this resource, or does not allow it for this user; some servers (ZITADEL, authentik, Entra, Google) refuse any resource',
    fix: "name the backend by the route's audience or scope and set resource: [], or register the resource at the server (PingFederate: among the resource URIs of its access token manager)",
  },
  {
    code: 'connection_refused_by_vault',
    is: ({ error, description }, _, { server }) =>
      server.grant === 'token_vault' &&
      error === 'invalid_request' &&
      /token vault is not enabled|connection/i.test(description),
    what: 'the vault does not serve the connection {connection}',
    fix: "enable Connected Accounts for Token Vault on the connection, or correct the route's connection",
  },
  {
    code: 'user_consent_missing',
    is: (_, __, failed) => consentPageOf(failed) !== undefined,
    what: 'this user must consent first',
    why: 'the server names a page for this; callers are told its URL if interaction.hosts lists the host',
    fix: (failed) =>
      `list "${shortAscii(consentPageOf(failed)?.host ?? '')}" in interaction.hosts, then let the user call the backend through cambist and open the URL`,
  },
  {
    code: 'user_consent_missing',
    is: ({ error }) => VAULT_EMPTY.test(error),
    what: 'this user has not connected the account',
    why: 'the vault of {server} has no token of this user for the connection {connection}',
    fix: "set the route's consent_url to the page where users connect their account, and let the user open it",
  },
  {
    code: 'consent_missing',
    is: ({ error, description }) => error === 'consent_required' || /AADSTS65001|consent/i.test(description),
    what: 'consent to this exchange is missing',
    fix: "grant admin consent for {client} on the backend's scope, or list it there as a known client (Auth0: let the API skip user consent)",
  },
  {
    code: 'actor_token_refused',
    is: ({ error, description }) => error !== 'invalid_target' && /actor[_ ]token/i.test(description),
    what: ({ request: { form } }) =>
      form.has('actor_token') ? 'the actor token is refused' : 'the server requires an actor token, but none was sent',
    why: 'its policy requires an actor, of an issuer, audience and type that the server accepts; the default service-account token of a pod has none of them right',
    fix: "set the route's actor_token.file to a projected service-account token whose audience is the server, check actor_token.type, or change the policy (PingFederate: Actor Token Required; ZITADEL: only if subject_token.type is jwt)",
  },
  {
    code: 'requested_token_type_refused',
    is: says(/requested_token_type/i),
    what: 'the requested_token_type is refused, or missing ({requested_token_type})',
    why: 'some servers (Auth0) refuse the parameter, some (Google) require it, and some (Keycloak) know access_token only',
    fix: "leave the route's requested_token_type out, or set a type that the server issues, such as access_token (Google) or jwt (ZITADEL)",
  },
  {
    code: 'subject_token_type_refused',
    is: says(/subject_token_type|subject token type/i),
    what: 'the subject_token_type {subject_token_type} is refused',
    fix: "set the route's subject_token.type to a type that the server accepts: access_token (Keycloak, Okta), id_token (Dex), jwt (tokendings, Google), the custom URN of a token exchange profile (Auth0), one that a processor policy maps (PingFederate)",
  },
  ...CLIENT_CAUSES,
  {
    code: 'target_refused',
    is: ({ error, description }, form) =>
      error === 'invalid_target' ||
      (error === 'invalid_request' &&
        /\baud(ience)?\b/i.test(description) &&
        !/subject|assertion|ID token/i.test(description) &&
        (form.has('audience') || /missing|required|one\b|single/i.test(description))),
    what: 'the audience {audience} is refused',
    why: 'the server does not know it, does not allow it for this client or this user, or requires exactly one audience (Okta)',
    fix: "set the route's audience to the server's one name of the backend (Okta: the audience of the authorization server; authentik: the client id of its provider; tokendings: <cluster>:<namespace>:<application>; Google: the full resource name of the provider, with the project's number), and allow this client to request it",
  },
  {
    code: 'scope_missing',
    is: ({ error, description }, form) =>
      !form.has('scope') && (error === 'invalid_scope' || /\bscopes?\b/i.test(description)),
    what: 'the server requires a scope, but none was sent',
    why: 'some servers (Okta, Google) issue no token without one',
    fix: "set the route's scope to one that the server has for this backend (Google: https://www.googleapis.com/auth/cloud-platform)",
  },
  {
    code: 'scope_refused',
    is: ({ error }) => error === 'invalid_scope',
    what: 'the scope {scope} is refused',
    fix: "allow this client these scopes at the server, or remove unknown scopes from the route's scope (Dex: list this client in trustedPeers of the backend's client)",
  },
  {
    code: 'interaction_required',
    is: ({ error }) => /^(insufficient_user_authentication|interaction_required)$/.test(error),
    what: 'the user has to sign in again first',
    why: 'a policy of the server requires a fresher or stronger sign-in, such as a second factor; callers get a 401 that says which',
    fix: 'sign in again with the acr_values, max_age or claims of the challenge, and use the token of that sign-in',
  },
  {
    // In a chain the first server has just issued the assertion, so a new caller's token does not help.
    code: 'assertion_refused',
    is: (_, __, failed) => failed.secondLeg && isTokenBlamed(failed),
    what: "the server refused the assertion of the chain's first server",
    why: 'it does not trust that server, has another audience, another name for the client or user, or another clock',
    fix: 'let "{name}" trust the first server as an issuer of assertions for {client}, and check that its issuer is the server\'s own name and that it knows the user',
  },
  {
    code: 'subject_token_refused',
    is: (_, __, failed) => isTokenBlamed(failed),
    what: "the server refused the caller's token",
    why: 'it {aud}; it may be expired or revoked, or its session may be over, or {client} may not exchange tokens of this type, audience or client',
    fix: 'obtain a new one; if that is refused as well, check subject_token.type and the audience of the tokens that callers sign in for',
  },
  {
    code: 'access_denied',
    is: ({ error }) => error === 'access_denied',
    what: 'a policy of the server does not allow this exchange',
    why: 'the client may not act for this user, or not towards this backend',
    fix: "check the server's exchange policies or permissions for the client of {server}, the user and the backend",
  },
];
