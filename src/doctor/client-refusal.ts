import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type Finding, fine, problem } from './finding.ts';
import { inOrder, type OAuthError, oauthErrorOf, quoting } from './oauth-error.ts';
import { issuedTokenOf, type RecordedRequest, sentIn } from './recorded-request.ts';
import { serverPath } from './unreachable.ts';

/** Sent as the subject token. A server that refuses it for itself has accepted the client that sent it. */
export const INVALID_TOKEN = 'cambist-doctor-sends-no-token';

/**
 * Explains the response to a request with an invalid subject token: does the server accept the client?
 * @see RFC 6749 section 5.2
 */
export function clientFinding(server: AuthorizationServer, request: RecordedRequest): Finding {
  if (issuedTokenOf(request) !== undefined) {
    return problem('any_subject_accepted', 'the server accepted an invalid subject token', {
      why: 'it does not verify subject tokens, so every caller gets the token of a genuine one',
      fix: 'do not use this server for token exchange until it verifies subject tokens',
    });
  }
  const refusal = oauthErrorOf(request, sentIn(request));
  if (refusal === undefined) return unavailableFinding(request);
  const cause = clientRefusal(server, refusal, request);
  if (cause !== undefined) return quoting(cause, refusal);
  // Not a token endpoint, or one behind a gateway that refuses everything.
  if (refusal.error === '') return unavailableFinding(request);
  return fine('client_accepted', `${labelOf(server)} is accepted`);
}

/** Explains a refusal of cambist's client, without the server's words. Undefined if the server refused something else. */
export function clientRefusal(
  server: AuthorizationServer,
  refusal: OAuthError,
  { form }: Pick<RecordedRequest, 'form'>,
): Finding | undefined {
  if (isClientUnsupported(refusal)) return unsupported(server);
  if (isClientRefused(refusal)) return refused(server, refusal);
  if (isExchangeDisabled(refusal)) return disabled(server, refusal, form.get('grant_type') === 'client_credentials');
  return undefined;
}

function labelOf({ clientId, clientAuth }: AuthorizationServer): string {
  return `client "${clientId ?? ''}" (${clientAuth.method})`;
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

/** Tells whether the server supports no clients. Google's API refuses any `Authorization` header and any unknown field. */
function isClientUnsupported({ error, description }: OAuthError): boolean {
  return error === 'UNAUTHENTICATED' || /unknown (name|parameter)\W+client_/i.test(description);
}

/** Tells whether the server refused the client, not the token. Keycloak returns `invalid_client` for an unknown audience, too. */
function isClientRefused({ status, error, description }: OAuthError): boolean {
  if (/audience not found/i.test(description) || NO_SERVICE_ACCOUNT.test(description)) return false;
  if (error === 'invalid_client' || ENTRA_CLIENT.test(description)) return true;
  if (error === 'invalid_request' && ABOUT_ASSERTION.test(description)) return true;
  if (status !== 401 || error === 'invalid_grant') return false;
  // Auth0 returns this for a wrong secret. Dex returns it without a description for an invalid subject token.
  return error !== 'access_denied' || /^unauthorized$/i.test(description);
}

/** Keycloak returns 401 for client credentials that are off, as for a wrong secret. */
const NO_SERVICE_ACCOUNT = /not enabled to retrieve service account/i;

/** Tells whether the server knows the client but does not let it use the grant. */
function isExchangeDisabled(refusal: OAuthError): boolean {
  const { status, error } = refusal;
  if (error === 'unsupported_grant_type') return true;
  if (/not allowed to exchange/i.test(refusal.description) || NO_SERVICE_ACCOUNT.test(refusal.description)) return true;
  if (inOrder(refusal, /exchange/i, /not|n't/i, /enabled|allowed|supported/i)) return true;
  return error === 'unauthorized_client' && status !== 401;
}

/** @param isOwn cambist requested a token of its own client */
function disabled(server: AuthorizationServer, { error, description }: OAuthError, isOwn: boolean): Finding {
  const client = `client "${server.clientId ?? ''}"`;
  if (isOwn) {
    return problem('exchange_disabled', `${client} may not use client credentials`, {
      why: 'the server does not support the grant client_credentials, or not for this client',
      fix: 'allow the client this grant at the server (Keycloak: switch its service account on), or remove client_credentials from the routes',
    });
  }
  const keycloak = /standard token exchange/i.test(description) || server.issuer?.includes('/realms/') === true;
  const entra = /AADSTS\d/.test(description) && server.grant === 'token_exchange';
  const grant = server.grant === 'jwt_bearer' ? 'the jwt-bearer grant' : 'token exchange';
  return problem('exchange_disabled', `${client} may not use ${grant}`, {
    why:
      error === 'unsupported_grant_type'
        ? 'the server does not support this grant, or not at this endpoint'
        : 'the server knows the client, but this grant is not enabled for it',
    fix: entra
      ? `set ${serverPath(server)}.grant: jwt_bearer and extra_params: { requested_token_use: on_behalf_of }`
      : keycloak
        ? `switch "Standard token exchange" on for client "${server.clientId}" (attribute standard.token.exchange.enabled)`
        : `allow the client this grant at the server, or set ${serverPath(server)}.grant to the grant that it supports`,
  });
}

function unsupported(server: AuthorizationServer): Finding {
  return problem('client_not_supported', 'the server does not accept client authentication', {
    why: 'Google identifies callers by their token only, and reads an Authorization header as a token of its own',
    fix: `set ${serverPath(server)}.client_auth: { method: none }, and leave client_id out`,
  });
}

function refused(server: AuthorizationServer, { description }: OAuthError): Finding {
  const { method } = server.clientAuth;
  const signed = method === 'private_key_jwt' || method === 'client_secret_jwt';
  const what = `${labelOf(server)} is refused`;
  const at = `${serverPath(server)}.client_auth`;
  if (signed && /lifetime/i.test(description)) {
    return problem('client_refused', what, {
      why: "cambist's assertion has a longer lifetime than this server accepts",
      fix: `shorten ${at}.assertion_lifetime (tokendings accepts 120s at most)`,
    });
  }
  if (signed && /\baud\b|audience/i.test(description)) {
    return problem('client_refused', what, {
      why: "the audience of cambist's assertion is not the name that this server has for itself",
      fix: `set ${at}.assertion_audience to the token endpoint or to the issuer, as the server requires`,
    });
  }
  if (/AADSTS700211\b/.test(description)) {
    return problem('client_refused', what, {
      why: 'the server does not know the issuer of the client assertion',
      fix: `let ${at}.from name a server at the tenant of the agent identity, not at the home of its blueprint`,
    });
  }
  return problem('client_refused', what, { fix: clientFix(server) });
}

function clientFix(server: AuthorizationServer): string {
  const at = `${serverPath(server)}.client_auth`;
  const compare = `compare client_id and secret with the server's, and check that the client is registered for ${server.clientAuth.method}`;
  switch (server.clientAuth.method) {
    case 'none':
      return `the server requires client authentication: set ${at}.method to the method that the client is registered with`;
    case 'client_secret_basic':
      // Servers differ in how they read the secret (RFC 6749 section 2.3.1).
      return `${compare}; for a secret with special characters, change ${at}.basic_encoding`;
    case 'client_secret_post':
    case 'client_secret_jwt':
      return compare;
    case 'private_key_jwt':
      return `check that the server has the public key of ${at}.private_key under the name key_id, and that it accepts the issuer as "aud" (else set assertion_audience: some servers require the token endpoint)`;
    case 'client_assertion':
      return `check that the server trusts the issuer of the assertion, its "sub" and its "aud", and that client_assertion_type is correct`;
    case 'tls_client_auth':
      return `check that the client is registered with ${server.tls?.spiffe ? 'the SPIFFE ID of cambist' : `the subject of ${serverPath(server)}.tls.certificate`}, and that the server requests certificates at this address`;
  }
}
