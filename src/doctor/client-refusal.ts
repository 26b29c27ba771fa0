import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { FailedTokenRequest } from '../tokens/diagnosis.ts';
import type { Attempt } from './check-context.ts';
import { credentialFinding, type Finding, fine, problem, showShortAscii } from './finding.ts';
import { type Cause, findingOf, isEntra, type OAuthError, oauthErrorOf, quoting } from './oauth-error.ts';
import { issuedTokenOf, type RecordedRequest } from './recorded-request.ts';
import { settingsOfServer, unreachable } from './unreachable.ts';

/** Sent as the subject token. A server that refuses it for itself has accepted the client that sent it. */
export const INVALID_TOKEN = 'cambist-doctor-sends-no-token';

/**
 * Explains the response to a request with an invalid subject token: does the server accept the client?
 * @see RFC 6749 section 5.2
 */
export async function clientFinding({ failure, refused }: Attempt<unknown>): Promise<Finding> {
  const response = refused?.response;
  if (failure === undefined || (response !== undefined && issuedTokenOf(response) !== undefined)) {
    return problem('any_subject_accepted', 'the server accepted an invalid subject token', {
      why: 'it does not verify subject tokens, so every caller gets the token of a genuine one',
      fix: 'do not use this server for token exchange until it verifies subject tokens',
    });
  }
  if (refused === undefined) return credentialFinding(failure);
  if (response === undefined) return unreachableServer(refused);
  const { server, sent, failedAtMs } = refused;
  const refusal = oauthErrorOf(response, sent);
  if (refusal === undefined) return unavailableFinding(response);
  const request = {
    ...response,
    form: new URLSearchParams(refused.form),
    sentAtMs: failedAtMs,
    respondedAtMs: failedAtMs,
  };
  const told = { subject: undefined, secondLeg: false, hasSucceeded: false, show: showShortAscii };
  const finding = findingOf({ server, request, refusal, ...told }, CLIENT_CAUSES);
  if (finding !== undefined) return quoting(finding, refusal);
  // Not a token endpoint, or one behind a gateway that refuses everything.
  if (refusal.error === '') return unavailableFinding(response);
  return fine('client_accepted', `client "${server.clientId ?? ''}" (${server.clientAuth.method}) is accepted`);
}

export function unreachableServer({ server, url, failure }: FailedTokenRequest): Promise<Finding> {
  return unreachable({ url, error: failure.cause, ...settingsOfServer(server) });
}

/** The response says nothing about client or token. */
export function unavailableFinding({ status }: Pick<RecordedRequest, 'status'>): Finding {
  return problem('server_unavailable', `the token endpoint returned ${status ?? 'nothing'}, without an OAuth error`, {
    why:
      status === 429
        ? 'it received too many requests'
        : 'the server is faulty, a gateway in front of it refuses the request, or the address has no token endpoint',
    fix: "check the server's log for this moment, and whether token_endpoint is correct",
  });
}

/** Entra's numbers for an unknown client, a wrong or expired secret, a wrong assertion. It calls the first `unauthorized_client`. */
const ENTRA_CLIENT = /AADSTS(700016|7000215|7000222|700027|700211|700213)\b/;

/** An `invalid_request` about the client's assertion. tokendings verifies it before the subject token. */
const ABOUT_ASSERTION = /client[_ ]assertion|^token verification failed: \S+$/i;

/** Keycloak returns 401 for client credentials that are off, as for a wrong secret. */
const NO_SERVICE_ACCOUNT = /not enabled to retrieve service account/i;

/** Tells whether the server refused the client, not the token. Keycloak returns `invalid_client` for an unknown audience, too. */
function isClientRefused({ status, error, description }: OAuthError): boolean {
  if (/audience not found/i.test(description) || NO_SERVICE_ACCOUNT.test(description)) return false;
  if (error === 'invalid_client' || ENTRA_CLIENT.test(description)) return true;
  if (error === 'invalid_request' && ABOUT_ASSERTION.test(description)) return true;
  if (status !== 401 || error === 'invalid_grant') return false;
  // Auth0 returns this for a wrong secret. Dex returns it without a description for an invalid subject token.
  return error !== 'access_denied' || /^unauthorized$/i.test(description);
}

/** Tells whether the server knows the client but does not let it use the grant. */
function isGrantDisabled({ status, error, description }: OAuthError): boolean {
  if (error === 'unsupported_grant_type' || NO_SERVICE_ACCOUNT.test(description)) return true;
  if (/exchange/i.test(description) && /(not|n't) .{0,40}(enabled|allowed|supported|exchange)/i.test(description))
    return true;
  return error === 'unauthorized_client' && status !== 401;
}

const COMPARE = "compare client_id and secret with the server's, and check that the client is registered for {method}";

const CLIENT_FIXES: Record<AuthorizationServer['clientAuth']['method'], string> = {
  none: 'the server requires client authentication: set {server}.client_auth.method to the method that the client is registered with',
  // Servers differ in how they read the secret (RFC 6749 section 2.3.1).
  client_secret_basic: `${COMPARE}; for a secret with special characters, change {server}.client_auth.basic_encoding`,
  client_secret_post: COMPARE,
  client_secret_jwt: COMPARE,
  private_key_jwt:
    'check that the server has the public key of {server}.client_auth.private_key under the name key_id, and that it accepts the assertion_audience and assertion_lifetime',
  client_assertion:
    'check that the server trusts the issuer of the assertion, its "sub" and its "aud", and that client_assertion_type is correct',
  tls_client_auth:
    'check that the client is registered with the SPIFFE ID of cambist, or the subject of {server}.tls.certificate, and that the server requests certificates at this address',
};

const REFUSED = { code: 'client_refused', what: '{client} ({method}) is refused' } as const;

const DISABLED = { code: 'exchange_disabled', what: '{client} may not use the grant {grant_type}' } as const;

/** The causes that concern cambist's client, not the token that it sent. */
export const CLIENT_CAUSES: readonly Cause[] = [
  {
    ...REFUSED,
    // Google's API refuses any `Authorization` header and any unknown field.
    is: ({ error, description }) => error === 'UNAUTHENTICATED' || /unknown name\W+client_/i.test(description),
    why: 'Google identifies callers by their token only, and reads an Authorization header as a token of its own',
    fix: 'set {server}.client_auth: { method: none }, and leave client_id out',
  },
  {
    ...REFUSED,
    is: (refusal, _, { server: { clientAuth } }) =>
      isClientRefused(refusal) &&
      /^(private_key|client_secret)_jwt$/.test(clientAuth.method) &&
      /\baud\b|audience/i.test(refusal.description),
    why: "the audience of cambist's assertion is not the name that this server has for itself",
    fix: 'set {server}.client_auth.assertion_audience to the token endpoint or to the issuer, as the server requires',
  },
  {
    ...REFUSED,
    is: ({ description }) => /AADSTS700211\b/.test(description),
    why: 'the server does not know the issuer of the client assertion',
    fix: 'let {server}.client_auth.from name a server at the tenant of the agent identity, not at the home of its blueprint',
  },
  { ...REFUSED, is: isClientRefused, fix: ({ server }) => CLIENT_FIXES[server.clientAuth.method] },
  {
    ...DISABLED,
    is: (refusal, form) => isGrantDisabled(refusal) && form.get('grant_type') === 'client_credentials',
    fix: 'allow the client this grant at the server (Keycloak: switch its service account on), or remove client_credentials from the routes',
  },
  {
    ...DISABLED,
    is: (refusal, _, failed) => isGrantDisabled(refusal) && isEntra(failed) && failed.server.grant === 'token_exchange',
    fix: 'set {server}.grant: jwt_bearer and extra_params: { requested_token_use: on_behalf_of }',
  },
  {
    ...DISABLED,
    is: (refusal, _, { server }) =>
      isGrantDisabled(refusal) &&
      (/standard token exchange/i.test(refusal.description) || server.issuer?.includes('/realms/') === true),
    fix: 'switch "Standard token exchange" on for {client} (attribute standard.token.exchange.enabled)',
  },
  {
    ...DISABLED,
    is: isGrantDisabled,
    why: 'the server does not support this grant, or has not enabled it for the client',
    fix: 'allow the client this grant at the server, or set {server}.grant to the grant that it supports',
  },
];
