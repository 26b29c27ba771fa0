import type { AuthorizationServer } from '../config/authorization-server.ts';
import type { Config } from '../config/config.ts';
import { hasCertificate } from '../config/kinds.ts';
import { type Route, sendsAgentToken, type TokenTarget } from '../config/route.ts';
import type { ActorTokenSource } from '../config/route-keys.ts';
import type { ExpectedAudience } from '../config/targets.ts';
import { assertionFrom } from '../config/used-servers.ts';
import type { CredentialSource } from '../secrets/credential.ts';
import { firstLegTarget } from '../tokens/own-tokens.ts';
import { buildTokenRequest, type Grant, ownTarget } from '../tokens/token-request.ts';
import { explainAgentToken } from './explain-agent.ts';

/** A token request, with placeholders for its secrets. */
export type TokenRequestExplanation = ReturnType<typeof explainRequest>;

/** Explains the checks of the subject token and of the issued token's `aud`, and the requests between them. */
export function explainTokenRequests(route: Route | undefined, { agents }: Config) {
  if (route === undefined) return {};
  const { credential, subjectToken } = route;
  if (!('authorizationServer' in credential)) return { subject_token_check: explainCheck(route) };
  const { authorizationServer: server, target } = credential;
  const issued_token_check = explainAudience(target.expectAudience);
  if (credential.kind === 'client_credentials') {
    return { token_request: explainRequest(server, target, { kind: 'client_credentials' }), issued_token_check };
  }
  const { chain, actorToken } = credential;
  const subject = subjectName(route);
  const given = { subjectToken: subject, subjectTokenType: subjectToken.type };
  const actor = actorToken && { token: actorName(actorToken, agents), type: actorToken.type };
  const exchange: Grant = { kind: 'token_exchange', ...given, actor };
  const issuer = assertionFrom(server);
  const fromChain: Grant = { kind: 'jwt_bearer', assertion: '<assertion from the previous request>', from: 'chain' };
  const grants: Record<AuthorizationServer['grant'], Grant> = {
    token_exchange: exchange,
    token_vault: { kind: 'token_vault', ...given },
    jwt_bearer: { kind: 'jwt_bearer', assertion: subject, from: 'caller' },
  };
  return {
    subject_token_check: explainCheck(route),
    assertion_request: chain
      ? explainRequest(chain.authorizationServer, firstLegTarget(chain, target), exchange)
      : issuer && explainRequest(issuer.authorizationServer, ownTarget(issuer.scope), { kind: 'client_credentials' }),
    token_request: explainRequest(server, target, chain ? fromChain : grants[server.grant]),
    issued_token_check,
  };
}

function explainAudience(expected: ExpectedAudience): string {
  if (expected === 'any') return 'aud is not checked (expect_audience: any)';
  if ('only' in expected) return `aud contains nothing but ${expected.only.join(', ')}`;
  return `aud contains ${expected.length > 1 ? 'one of ' : ''}${expected.join(', ')}`;
}

/** The header that carries the secret of a route, or an issued token in an unusual place, with a placeholder. */
export function explainSent({ credential, send }: Route): string | undefined {
  if (credential.kind !== 'secret' && send === undefined) return undefined;
  const value = credential.kind === 'secret' ? `<secret from ${placeOf(credential.source)}>` : '<issued token>';
  const { header, scheme } = send ?? { header: 'Authorization', scheme: 'Bearer' };
  return `${header}: ${scheme === '' ? '' : `${scheme} `}${value}`;
}

function placeOf(source: CredentialSource): string {
  if ('spiffe' in source) return `the SPIFFE agent for ${source.audience}`;
  return 'file' in source ? source.file : source.env;
}

export function explainCacheKey(route: Route, config: Config): string[] | undefined {
  const { credential, subjectToken } = route;
  if (!('authorizationServer' in credential)) return undefined;
  const isExchange = credential.kind === 'exchange';
  const named = isExchange ? 'grant, resource, audience, scope, types, actor, chain' : 'resource, audience, scope';
  const resource = `the resource: authorization server and its tls, client, ${named}, extra parameters, expect_audience, step_up`;
  if (!isExchange) return [resource];
  if (subjectToken.own !== undefined) return [`cambist's own token, from ${placeOf(subjectToken.own)}`, resource];
  return [
    `the caller's token, from the header "${subjectToken.header}"`,
    `the session id, from the header "${config.session.header}", if present`,
    ...(sendsAgentToken(route) ? ['the agent, by issuer and subject of its token'] : []),
    resource,
  ];
}

/** Explains how the issued token is shared with other replicas, if there are a shared cache and such a token. */
export function explainSharing({ credential }: Route, { cache }: Config): string | undefined {
  if (cache.shared === undefined || !('authorizationServer' in credential)) return undefined;
  const { dpop } = credential.authorizationServer;
  if (dpop) return 'not shared with other replicas if it is bound to a key, because each replica has its own';
  if (credential.kind === 'exchange') return "shared with other replicas, sealed under the caller's token";
  return 'not shared with other replicas, because it is for cambist itself';
}

function explainRequest(server: AuthorizationServer, target: TokenTarget, grant: Grant) {
  const alias = !hasCertificate(server.tls) ? '' : ', from its mtls_endpoint_aliases if present';
  return {
    endpoint: server.tokenEndpoint ?? `the token_endpoint in the metadata of ${server.issuer}${alias}`,
    client_authentication: explainClientAuth(server),
    /** The request carries a proof of possession (RFC 9449). */
    dpop: server.dpop ? (true as const) : undefined,
    form: buildTokenRequest(grant, target, server).map(({ name, value }) => [name, value] as const),
  };
}

function actorName({ source }: ActorTokenSource, agents: Config['agents']): string {
  if (source === 'agent') return explainAgentToken(agents);
  return 'spiffe' in source ? '<JWT-SVID>' : '<actor token>';
}

function subjectName({ subjectToken: { header, own } }: Route): string {
  if (own === undefined) return `<token from the header "${header}">`;
  return 'spiffe' in own ? '<JWT-SVID>' : '<token from the file>';
}

function explainCheck({ subjectToken: { verify } }: Route): string | undefined {
  if (verify === undefined) return undefined;
  const audience = verify.audience === 'any' ? 'any aud' : `aud one of ${verify.audience.join(', ')}`;
  const { introspection } = verify;
  if (introspection !== undefined) {
    const { authorizationServer, endpoint = 'the introspection_endpoint of its metadata' } = introspection;
    const signed = verify.jwksUri === undefined ? '' : `signed (keys from ${verify.jwksUri}), and `;
    return `${signed}active according to authorization server "${authorizationServer.name}" (${endpoint}), of ${verify.issuer}, ${audience}, exp and nbf`;
  }
  const keys = verify.jwksUri ?? 'the jwks_uri of its metadata';
  return `signed by ${verify.issuer} (keys from ${keys}), ${audience}, exp and nbf`;
}

function explainClientAuth(server: AuthorizationServer): string {
  const { clientAuth: auth, clientId } = server;
  switch (auth.method) {
    case 'none':
      return clientId === undefined ? 'none' : `client_id=${clientId} in the form`;
    case 'client_secret_basic':
      return `Authorization: Basic <${clientId}:secret, ${auth.basicEncoding} encoded>`;
    case 'client_secret_post':
      return `client_id=${clientId} and client_secret=<secret> in the form`;
    case 'client_secret_jwt':
      return `client_id=${clientId} and client_assertion=<JWT made now with the secret, ${auth.alg}> in the form`;
    case 'private_key_jwt':
      return `client_id=${clientId} and client_assertion=<JWT signed now> in the form`;
    case 'client_assertion': {
      if (auth.from !== undefined) {
        const { authorizationServer, scope } = auth.from;
        return `client_id=${clientId} and client_assertion=<token of authorization server "${authorizationServer.name}" for ${scope}> in the form`;
      }
      const assertion =
        auth.clientAssertion !== undefined && 'spiffe' in auth.clientAssertion
          ? `JWT-SVID for ${auth.clientAssertion.audience}`
          : 'from the file';
      return `client_id=${clientId} and client_assertion=<${assertion}>, of type ${auth.clientAssertionType}, in the form`;
    }
    case 'tls_client_auth':
      return `client_id=${clientId} in the form, and the ${server.tls?.spiffe ? 'X.509-SVID' : 'client certificate'} of the connection`;
  }
}
