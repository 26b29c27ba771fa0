import type { AuthorizationServer } from '../config/config.ts';
import { type Finding, fine, problem, warning } from './finding.ts';
import { place } from './metadata.ts';
import { issuedTokenOf, type OAuthError, oauthErrorOf, type RecordedRequest } from './recorded-request.ts';

/** Sent in place of a subject token: whoever checks it refuses it, and has then accepted the client that sent it. */
export const INVALID_TOKEN = 'cambist-doctor-sends-no-token';

/**
 * What the answer to a request with a worthless subject token says of the client that sent it. Pure.
 * @see RFC 6749 section 5.2
 */
export function clientFinding(server: AuthorizationServer, answer: RecordedRequest): Finding {
  const client = `client "${server.clientId ?? ''}" (${server.clientAuth.method})`;
  if (issuedTokenOf(answer) !== undefined) {
    return problem('any_subject_accepted', 'the server issued a token for a subject token that is none', {
      why: 'it does not check the subject token, so that any caller gets what a real one would',
      fix: 'do not use this server for token exchange before it verifies what it exchanges',
    });
  }
  const refusal = oauthErrorOf(answer);
  if (refusal === undefined) return unavailableFinding(answer);
  if (isClientUnwanted(refusal)) return unwanted(server, refusal);
  if (isClientRefused(refusal)) return refused(server, client, refusal);
  if (isSwitchedOff(refusal)) return switchedOff(server, refusal);
  // Whoever is no token endpoint, or lets nobody near it, accepts no client either.
  if (refusal.error === '') return unavailableFinding(answer);
  return fine('client_accepted', `${client} is accepted`);
}

/** An answer that says nothing of client or token. */
export function unavailableFinding({ status }: RecordedRequest): Finding {
  return problem('server_unavailable', `the token endpoint answered ${status ?? 'nothing'}, and no OAuth error`, {
    why:
      status === 429
        ? 'it has had too many requests'
        : 'the server has a fault of its own, something before it keeps us away, or no token endpoint is there',
    fix: "see the server's log of this moment, and whether token_endpoint is the right address",
  });
}

/** Entra's numbers for an unknown client, a wrong or expired secret, a wrong assertion; it calls the first `unauthorized_client`. */
const ENTRA_CLIENT = /AADSTS(700016|7000215|7000222|700027)\b/;

/** What an `invalid_request` says of the client's assertion; tokendings verifies that before it looks at the subject token. */
const OF_ASSERTION = /client[_ ]assertion|^token verification failed: \S+$/i;

/** Does a server refuse that there is a client at all? Google's API says so of any `Authorization`, and of a field that it does not know. */
export function isClientUnwanted({ error, description }: OAuthError): boolean {
  return error === 'UNAUTHENTICATED' || /unknown (name|parameter)\W+client_/i.test(description);
}

/** Does a server refuse the client, and not the token? Keycloak says `invalid_client` of an unknown audience, too. */
export function isClientRefused({ status, error, description }: OAuthError): boolean {
  if (/audience not found/i.test(description)) return false;
  if (error === 'invalid_client' || ENTRA_CLIENT.test(description)) return true;
  if (error === 'invalid_request' && OF_ASSERTION.test(description)) return true;
  if (status !== 401 || error === 'invalid_grant') return false;
  // Auth0 says so of a wrong secret, and Dex, without a word more, of a bad subject token.
  return error !== 'access_denied' || /^unauthorized$/i.test(description);
}

/** Does a server know the client, and not let it exchange? */
export function isSwitchedOff({ status, error, description }: OAuthError): boolean {
  if (error === 'unsupported_grant_type') return true;
  if (/exchange.*(not|n't).*(enabled|allowed|supported)|not allowed to exchange/i.test(description)) return true;
  return error === 'unauthorized_client' && status !== 401;
}

function switchedOff(server: AuthorizationServer, { shown, error, description }: OAuthError): Finding {
  const keycloak = /standard token exchange/i.test(description) || server.issuer?.includes('/realms/') === true;
  const entra = /AADSTS\d/.test(description) && server.grant === 'token_exchange';
  const grant = server.grant === 'jwt_bearer' ? 'the jwt-bearer grant' : 'token exchange';
  return problem('exchange_disabled', `client "${server.clientId ?? ''}" may not use ${grant}: ${shown}`, {
    why:
      error === 'unsupported_grant_type'
        ? 'the server does not know this grant, or not at this endpoint'
        : 'the client is known, and this grant is not switched on for it',
    fix: entra
      ? `set ${place(server)}.grant: jwt_bearer and extra_params: { requested_token_use: on_behalf_of }`
      : keycloak
        ? `switch "Standard token exchange" on for client "${server.clientId}" (attribute standard.token.exchange.enabled)`
        : `allow the client this grant at the server, or set ${place(server)}.grant to the one that it offers`,
  });
}

function unwanted(server: AuthorizationServer, { shown }: OAuthError): Finding {
  return problem('client_not_supported', `the server wants no client, and was shown one: ${shown}`, {
    why: 'Google knows callers by their token alone, and takes an Authorization header for a token of its own',
    fix: `set ${place(server)}.client_auth: { method: none }, and leave client_id out`,
  });
}

function refused(server: AuthorizationServer, client: string, { shown, description }: OAuthError): Finding {
  const { method } = server.clientAuth;
  const signed = method === 'private_key_jwt' || method === 'client_secret_jwt';
  const what = `${client} is refused: ${shown}`;
  const at = `${place(server)}.client_auth`;
  if (signed && /lifetime/i.test(description)) {
    return problem('client_refused', what, {
      why: 'our assertion lives longer than this server takes',
      fix: `shorten ${at}.assertion_lifetime (tokendings takes 120s at most)`,
    });
  }
  if (signed && /\baud\b|audience/i.test(description)) {
    return problem('client_refused', what, {
      why: 'our assertion is for another audience than this server calls itself',
      fix: `set ${at}.assertion_audience to the token endpoint, or to the issuer, as the server wants it`,
    });
  }
  return problem('client_refused', what, { fix: clientMend(server) });
}

function clientMend(server: AuthorizationServer): string {
  const at = `${place(server)}.client_auth`;
  switch (server.clientAuth.method) {
    case 'none':
      return `the server wants client authentication: set ${at}.method to what the client is registered with`;
    case 'client_secret_basic':
    case 'client_secret_post':
    case 'client_secret_jwt':
      return `compare client_id and secret with the server's, and see that the client is registered for ${server.clientAuth.method}`;
    case 'private_key_jwt':
      return `see that the server has the public key of ${at}.private_key, that key_id is its name there, and that it wants the issuer as "aud" (else set assertion_audience: some want the token endpoint)`;
    case 'client_assertion':
      return `see that the server trusts the issuer of the assertion, its "sub" and its "aud", and that client_assertion_type is right`;
    case 'tls_client_auth':
      return `see that the client is registered with the subject of ${place(server)}.tls.certificate, and that the server asks for certificates at this address`;
  }
}

/**
 * What it means that the client was refused with the one encoding of id and secret, and accepted with the other. Pure.
 * @see RFC 6749 section 2.3.1
 */
export function encodingFinding(server: AuthorizationServer, other: 'form' | 'raw'): Finding {
  return problem(
    'client_basic_encoding',
    `the client is accepted where its secret is sent ${other}, and refused as configured`,
    {
      why:
        other === 'raw'
          ? 'the secret has characters that the RFC wants percent-encoded, and this server does not decode them'
          : 'the secret has characters that this server, as the RFC wants, percent-decodes',
      fix: `set ${place(server)}.client_auth.basic_encoding: ${other}`,
    },
  );
}

/** Would the other encoding of a `Basic` header send anything else? */
export function encodingMatters(authorization: string | undefined): boolean {
  const pair = Buffer.from((authorization ?? '').replace(/^Basic /, ''), 'base64').toString('utf8');
  return !/^[A-Za-z0-9._~-]*:[A-Za-z0-9._~-]*$/.test(pair);
}

/** Of a server that the config has, and no route. */
export function unusedFinding(): Finding {
  return warning('client_not_checked', 'no route asks it for tokens, so its client was not tried');
}
