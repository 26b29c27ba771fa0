import { clientRefusal, unavailableFinding } from './client-refusal.ts';
import { serverPath } from './config-paths.ts';
import {
  audienceCount,
  audienceFormat,
  audienceUnknown,
  keycloakMapper,
  notPermitted,
  resourceRefused,
  scope,
  scopeFormat,
  target,
} from './exchange-errors-target.ts';
import {
  actorToken,
  assertionRefused,
  onBehalfOf,
  subjectAudience,
  subjectIssuer,
  subjectLacksTarget,
  subjectOfOtherClient,
  subjectRefused,
} from './exchange-errors-token.ts';
import { type Finding, listed, problem, shortAscii } from './finding.ts';
import { type Cause, type FailedExchange, quoting } from './oauth-error.ts';
import { jsonBodyOf } from './recorded-request.ts';

/**
 * Explains why a server refused an exchange, and how to fix it, without the server's words. Error messages of real servers are
 * cases of its tests.
 */
export function exchangeRefusal(failed: FailedExchange): Finding {
  for (const cause of CAUSES) {
    const finding = cause(failed);
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

/** The most specific comes first and takes precedence. */
const CAUSES: readonly Cause[] = [
  noOAuthError,
  keycloakMapper,
  audienceUnknown,
  audienceFormat,
  notPermitted,
  subjectLacksTarget,
  subjectAudience,
  subjectIssuer,
  onBehalfOf,
  scopeFormat,
  callerRefused,
  resourceRefused,
  vaultConnection,
  userConsent,
  consent,
  connectorId,
  actorToken,
  requestedTokenType,
  subjectTokenType,
  clientAuthentication,
  audienceCount,
  target,
  scope,
  interaction,
  assertionRefused,
  subjectOfOtherClient,
  withoutReason,
  subjectRefused,
  denied,
];

/** A refusal by a gateway, or an address without a token endpoint. Some servers refuse the client without a body. */
function noOAuthError({ request, refusal }: FailedExchange): Finding | undefined {
  const isEmpty = refusal.error === '' && refusal.description === '' && refusal.status !== 401;
  return isEmpty ? unavailableFinding(request) : undefined;
}

/** Groups and policies of users show in the same error codes as a wrong audience. */
function callerRefused({ hasSucceeded, refusal }: FailedExchange): Finding | undefined {
  if (!hasSucceeded || !/^(access_denied|invalid_target)$/.test(refusal.error)) return undefined;
  return problem('caller_refused', `the server refuses this caller: ${shortAscii(refusal.shown)}`, {
    why: 'the same exchange has succeeded for a caller since cambist started, so the client and the target are right',
    fix: 'compare the groups, roles and consents of this user at the server',
  });
}

function vaultConnection({ server, request, refusal }: FailedExchange): Finding | undefined {
  if (server.grant !== 'token_vault' || !/token vault is not enabled|connection/i.test(refusal.description))
    return undefined;
  if (refusal.error !== 'invalid_request') return undefined;
  const connection = shortAscii(request.form.get('connection') ?? '');
  return problem('connection_refused_by_vault', `the vault does not serve the connection "${connection}"`, {
    fix: "enable Connected Accounts for Token Vault on the connection, or correct the route's connection",
  });
}

/** Okta names the page of the consent. Auth0's vault has no token before the user connected the account. */
function userConsent({ server, request, refusal }: FailedExchange): Finding | undefined {
  const { interaction_uri: uri } = jsonBodyOf(request);
  const isVault = /^federated_connection_refresh_token_not_found$|^tokenset_not_found$/.test(refusal.error);
  if (refusal.error !== 'interaction_required' && !isVault) return undefined;
  if (typeof uri === 'string' && URL.canParse(uri)) {
    const host = shortAscii(new URL(uri).host);
    return problem('user_consent_missing', 'this user must consent first', {
      why: `the server names a page at "${host}"; callers are told its URL if interaction.hosts lists the host`,
      fix: `list "${host}" in interaction.hosts, then let the user call the backend through cambist and open the URL`,
    });
  }
  if (!isVault) return undefined;
  return problem('user_consent_missing', 'this user has not connected the account', {
    why: `the vault of ${serverPath(server)} has no token of this user for the connection "${shortAscii(request.form.get('connection') ?? '')}"`,
    fix: "set the route's consent_url to the page where users connect their account, and let the user open it",
  });
}

function consent({ server, refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'consent_required' && !/AADSTS65001|consent/i.test(refusal.description)) return undefined;
  return problem('consent_missing', 'consent to this exchange is missing', {
    fix: `grant admin consent for client "${server.clientId}" on the backend's scope, or list it there as a known client (Auth0: let the API skip user consent)`,
  });
}

/** Dex requires connector_id in addition to the parameters of the RFC. */
function connectorId({ server, refusal }: FailedExchange): Finding | undefined {
  if (!/connector/i.test(refusal.description)) return undefined;
  const sent = new Map(server.extraParams).get('connector_id');
  return problem(
    'connector_id_missing',
    sent === undefined ? 'no connector_id was sent' : `the connector_id "${shortAscii(sent)}" is refused`,
    {
      why: 'Dex verifies the subject token with the connector that it comes from',
      fix: `set ${serverPath(server)}.extra_params: { connector_id: <id of a connector that supports token exchange> }`,
    },
  );
}

function requestedTokenType({ request, refusal }: FailedExchange): Finding | undefined {
  if (!/requested_token_type/i.test(refusal.description)) return undefined;
  const sent = request.form.get('requested_token_type');
  if (sent === null) {
    return problem('requested_token_type_required', 'the server requires a requested_token_type', {
      fix: "set the route's requested_token_type, for example to access_token (Google) or jwt (ZITADEL)",
    });
  }
  return problem('requested_token_type_refused', `the requested_token_type "${shortAscii(sent)}" is refused`, {
    why: 'some servers (Auth0) refuse the parameter, some (Keycloak) know access_token only',
    fix: "leave the route's requested_token_type out, or set a type that the server issues",
  });
}

function subjectTokenType({ request, refusal }: FailedExchange): Finding | undefined {
  if (!/subject_token_type|subject token type/i.test(refusal.description)) return undefined;
  const sent = request.form.get('subject_token_type') ?? '';
  return problem('subject_token_type_refused', `the subject_token_type "${shortAscii(sent)}" is refused`, {
    fix: "set the route's subject_token.type to a type that the server accepts: access_token (Keycloak, Okta), id_token (Dex), jwt (tokendings, Google), the custom URN of a token exchange profile (Auth0), one that a processor policy maps (PingFederate)",
  });
}

function clientAuthentication({ server, refusal }: FailedExchange): Finding | undefined {
  return clientRefusal(server, refusal);
}

function interaction({ refusal }: FailedExchange): Finding | undefined {
  if (refusal.error === 'insufficient_user_authentication') {
    return problem('interaction_required', 'the user has to sign in again first', {
      why: 'a policy of the server requires a fresher or stronger sign-in; callers get a 401 with acr_values and max_age',
      fix: 'sign in again with the acr_values and max_age of the challenge, and use the token of that sign-in',
    });
  }
  if (refusal.error !== 'interaction_required') return undefined;
  return problem('interaction_required', 'the user has to act first', {
    why: 'a policy of the server requires, for example, a second factor; callers get a 401 with the claims',
    fix: 'sign in again with the claims of the challenge, and use the token of that sign-in',
  });
}

/** LemonLDAP::NG returns the same error for every cause. */
function withoutReason({ server, request, refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'invalid_request' || refusal.description !== '') return undefined;
  const asked = request.form.getAll('audience');
  return problem('refused_without_reason', 'the server refused without a reason', {
    why: 'LemonLDAP::NG does so if the backend is unknown or does not list this client, and for types other than access_token',
    fix: `list "${server.clientId}" among the clients that may exchange for the relying party whose client id is ${asked.length === 0 ? "the route's audience" : listed(asked)}; name one audience; the server's log says which it was`,
  });
}

function denied({ server, refusal }: FailedExchange): Finding | undefined {
  if (refusal.error !== 'access_denied') return undefined;
  return problem('access_denied', 'a policy of the server does not allow this exchange', {
    why: 'the client may not act for this user, or not towards this backend',
    fix: `check the server's exchange policies or permissions for the client of ${serverPath(server)}, the user and the backend`,
  });
}
