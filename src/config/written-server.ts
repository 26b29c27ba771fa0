import type { AssertionFrom, AssertionRules, AuthorizationServer, ClientAuth } from './authorization-server.ts';
import { HIDDEN, hideKeys } from './hide-keys.ts';
import type { Loose } from './schema.ts';
import type { AuthorizationServerFile, ClientAuthFile } from './schema-authorization-server.ts';
import { duration, type ShowSource, source, writtenTls } from './written-values.ts';

export function writtenServer(server: AuthorizationServer, show: ShowSource): Loose<AuthorizationServerFile> {
  const { issuer, tokenEndpoint, clientId, clientAuth, grant, extraParams, timeoutMs, tls, dpop } = server;
  return {
    issuer,
    token_endpoint: tokenEndpoint && hideKeys(tokenEndpoint),
    client_id: clientId,
    client_auth: writtenClientAuth(clientAuth, show),
    grant,
    ...(extraParams.length > 0 && { extra_params: Object.fromEntries(extraParams.map(([name]) => [name, HIDDEN])) }),
    timeout: duration(timeoutMs),
    tls: tls && writtenTls(tls, show),
    dpop,
    allow_insecure_http: server.allowInsecureHttp,
  };
}

type Algorithm = ClientAuthFile['alg'];

function writtenClientAuth(auth: ClientAuth, show: ShowSource): Loose<ClientAuthFile> {
  const { method } = auth;
  switch (method) {
    case 'none':
    case 'tls_client_auth':
      return { method };
    case 'client_secret_basic':
      return { method, client_secret: source(auth.clientSecret, show), basic_encoding: auth.basicEncoding };
    case 'client_secret_post':
      return { method, client_secret: source(auth.clientSecret, show) };
    case 'client_secret_jwt':
      return { method, client_secret: source(auth.clientSecret, show), alg: auth.alg as Algorithm, ...assertion(auth) };
    case 'private_key_jwt':
      return {
        method,
        private_key: source(auth.privateKey, show),
        alg: auth.alg as Algorithm,
        key_id: auth.keyId,
        certificate: source(auth.certificate, show),
        ...assertion(auth),
      };
    case 'client_assertion':
      return {
        method,
        ...('authorizationServer' in auth.clientAssertion
          ? { from: writtenFrom(auth.clientAssertion) }
          : { client_assertion: source(auth.clientAssertion, show) }),
        client_assertion_type: auth.clientAssertionType,
      };
    default:
      return method satisfies never;
  }
}

function writtenFrom({ authorizationServer, scope }: AssertionFrom): Loose<ClientAuthFile>['from'] {
  return { authorization_server: authorizationServer.name, scope };
}

function assertion({ assertionAudience, assertionLifetimeMs }: AssertionRules) {
  return { assertion_audience: assertionAudience, assertion_lifetime: duration(assertionLifetimeMs) };
}
