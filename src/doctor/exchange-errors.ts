import { clientRefusal, unavailableFinding } from './client-refusal.ts';
import {
  callerRefused,
  consentPage,
  findingOf,
  isTokenBlamed,
  type KnownCause,
  says,
  subjectAudience,
  subjectIssuer,
  subjectLacksTarget,
  subjectRefused,
  VAULT_EMPTY,
} from './exchange-causes.ts';
import { type Finding, problem } from './finding.ts';
import { type FailedExchange, inOrder, isEntra, quoting } from './oauth-error.ts';

/**
 * Explains why a server refused an exchange, and how to fix it, without the server's words. Error messages of real servers are
 * cases of its tests.
 */
export function exchangeRefusal(failed: FailedExchange): Finding {
  for (const cause of CAUSES) {
    const finding = typeof cause === 'function' ? cause(failed) : findingOf(cause, failed);
    if (finding !== undefined) return finding;
  }
  return problem('request_refused', 'the server refused the exchange', {
    fix: "check the server's log for this moment: it often says more than the response",
  });
}

/** The same, with the server's words. */
export function exchangeErrorFinding(failed: FailedExchange): Finding {
  return quoting(exchangeRefusal(failed), failed.refusal);
}

/** The backend is unknown to the server. */
const UNKNOWN = { code: 'audience_unknown', what: 'the server does not know {audience}' } as const;

/** The backend is known, but not allowed for this client. */
const NOT_PERMITTED = { code: 'target_not_permitted', what: 'no token for {audience} is allowed here' } as const;

const COUNTED = /\b(?:missing|required|repeated|multiple|single|one)\b/i;

/** The most specific comes first and takes precedence. A function returns nothing if it is another cause. */
const CAUSES: readonly (KnownCause | ((failed: FailedExchange) => Finding | undefined))[] = [
  // A refusal by a gateway, or an address without a token endpoint. Some servers refuse the client without a body.
  ({ request, refusal: { error, description, status } }) =>
    error === '' && description === '' && status !== 401 ? unavailableFinding(request) : undefined,
  {
    code: 'audience_mapper_missing',
    is: says(/requested audience not available/i),
    what: 'this client may not request the audience',
    why: "Keycloak only selects from the audiences that the client's own mappers would add, and no mapper adds {audience}",
    fix: 'give {client} an audience mapper (oidc-audience-mapper) for {audience}, or a client scope that has one',
  },
  {
    ...UNKNOWN,
    is: ({ error, description }) => error === 'invalid_client' && /^audience not found/i.test(description),
    why: 'at Keycloak "audience" is the client id of the backend',
    fix: "register a client named {audience}, or set the route's audience to the backend's client id",
  },
  {
    ...UNKNOWN,
    is: says(/service not found/i),
    why: 'at Auth0 "audience" is the identifier of an API',
    fix: "create an API with the identifier {audience}, or set the route's audience to the exact identifier of the API",
  },
  {
    ...UNKNOWN,
    is: says(/token exchange audience \S+ is invalid/i),
    why: 'at tokendings "audience" is <cluster>:<namespace>:<application>, of an application with tokenx enabled',
    fix: "enable tokenx for the application {audience}, or correct the route's audience",
  },
  {
    ...UNKNOWN,
    is: says(/"audience" parameters? (is|are) invalid|pool or provider/i),
    why: 'Google knows no such workload identity pool and provider, or the audience has the id of the project, not its number',
    fix: 'write the number of the project into the audience, and check that the pool and provider exist and are enabled',
  },
  {
    // There it names the identity provider, not a backend.
    code: 'audience_format',
    is: says(/invalid value for "?audience/i),
    what: 'the audience {audience} has an invalid format',
    why: 'Google requires the full resource name of the provider in the workload identity pool',
    fix: "set the route's audience: //iam.googleapis.com/projects/<number>/locations/global/workloadIdentityPools/<pool>/providers/<provider>",
  },
  {
    ...NOT_PERMITTED,
    is: says(/policy evaluation failed/i),
    why: 'no access policy rule of this Okta authorization server matches client, grant, user and scope together',
    fix: "in the authorization server's access policies, assign {client} and add a rule with the grant Token Exchange, the users and the scopes",
  },
  {
    ...NOT_PERMITTED,
    is: says(/not authorized to get token with aud/i),
    why: 'the access policy of the backend does not name this application',
    fix: 'add {client} to spec.accessPolicy.inbound.rules of the application {audience}',
  },
  {
    ...NOT_PERMITTED,
    is: says(/not authorized to access/i),
    why: 'the application has no grant for this API',
    fix: 'authorize {client} for the API {audience}, with the scopes that the route requests',
  },
  {
    ...NOT_PERMITTED,
    is: says(/rejected by the attribute condition/i),
    why: "the caller's token does not meet the attribute condition of the workload identity provider",
    fix: "compare the condition of the provider with the claims of the caller's token",
  },
  subjectLacksTarget,
  subjectAudience,
  subjectIssuer,
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
    what: (form) => `the scope ${form.has('scope') ? '{scope} is refused' : 'is missing'}`,
    why: 'Entra names the backend by its scope only: the application id URI, a slash, and .default or one scope',
    fix: "set the route's scope: api://<application id of the backend>/.default",
  },
  callerRefused,
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
  consentPage,
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
    code: 'connector_id_missing',
    is: says(/connector/i),
    what: (form) =>
      form.has('connector_id') ? 'the connector_id {connector_id} is refused' : 'no connector_id was sent',
    why: 'Dex verifies the subject token with the connector that it comes from',
    fix: 'set {server}.extra_params: { connector_id: <id of a connector that supports token exchange> }',
  },
  {
    // PingFederate requires it if its policy says so, ZITADEL if the subject token is a JWT of another issuer.
    code: 'actor_token_required',
    is: ({ description }, form) => /actor[_ ]token/i.test(description) && !form.has('actor_token'),
    what: 'the server requires an actor token, but none was sent',
    why: 'its policy requires the name of the actor that acts for the user',
    fix: "set the route's actor_token.file to a token of this workload that the server trusts, or change the policy (PingFederate: Actor Token Required; ZITADEL: only if subject_token.type is jwt)",
  },
  {
    code: 'actor_token_refused',
    is: says(/actor[_ ]token/i),
    what: 'the actor token is refused',
    why: 'it has another issuer, audience or type than the server accepts; the default service-account token of a pod has none of them right',
    fix: "set actor_token.file to a projected service-account token whose audience is the server, and check the route's actor_token.type",
  },
  {
    code: 'requested_token_type_required',
    is: ({ description }, form) => /requested_token_type/i.test(description) && !form.has('requested_token_type'),
    what: 'the server requires a requested_token_type',
    fix: "set the route's requested_token_type, for example to access_token (Google) or jwt (ZITADEL)",
  },
  {
    code: 'requested_token_type_refused',
    is: says(/requested_token_type/i),
    what: 'the requested_token_type {requested_token_type} is refused',
    why: 'some servers (Auth0) refuse the parameter, some (Keycloak) know access_token only',
    fix: "leave the route's requested_token_type out, or set a type that the server issues",
  },
  {
    code: 'subject_token_type_refused',
    is: says(/subject_token_type|subject token type/i),
    what: 'the subject_token_type {subject_token_type} is refused',
    fix: "set the route's subject_token.type to a type that the server accepts: access_token (Keycloak, Okta), id_token (Dex), jwt (tokendings, Google), the custom URN of a token exchange profile (Auth0), one that a processor policy maps (PingFederate)",
  },
  ({ server, refusal, request }) => clientRefusal(server, refusal, request),
  {
    code: 'audience_count',
    is: (refusal, form) =>
      form.getAll('audience').length !== 1 &&
      (inOrder(refusal, /audience\b/i, COUNTED) || inOrder(refusal, COUNTED, /audience/i)),
    what: (form) =>
      `the server requires one audience, but ${form.has('audience') ? '{audience} were' : 'none was'} sent`,
    why: 'Okta, tokendings and LemonLDAP::NG accept exactly one',
    fix: "set the route's audience to one name, and use a separate route for each backend",
  },
  {
    code: 'target_refused',
    is: ({ error }) => error === 'invalid_target',
    what: 'the audience {audience} is refused',
    why: (form) =>
      form.getAll('audience').length > 1
        ? 'many servers accept one audience at a time'
        : 'probably the server does not know it, or does not allow it for this client or this user',
    fix: "set the route's audience to the server's name of the backend (Okta: the audience of the authorization server; authentik: the client id of its provider), and allow this client to request it",
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
    code: 'refused_without_reason',
    is: ({ error, description }) => error === 'invalid_request' && description === '',
    what: 'the server refused without a reason',
    why: 'LemonLDAP::NG does so for a token of another client, for a backend that is unknown or does not list this client, and for types other than access_token',
    fix: "let the agent sign its users in with {client}; list it among the clients that may exchange for the relying party that the route's audience names ({audience}); name one audience; the server's log says which it was",
  },
  subjectRefused,
  {
    code: 'access_denied',
    is: ({ error }) => error === 'access_denied',
    what: 'a policy of the server does not allow this exchange',
    why: 'the client may not act for this user, or not towards this backend',
    fix: "check the server's exchange policies or permissions for the client of {server}, the user and the backend",
  },
];
