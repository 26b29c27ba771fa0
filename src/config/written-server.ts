import type { AssertionFrom, AuthorizationServer, ClientAuth } from './authorization-server.ts';
import { HIDDEN, hideKeys } from './hide-keys.ts';
import type { AuthorizationServerFile, ClientAuthFile } from './schema-authorization-server.ts';
import { duration, type ShowSource, source, writtenTls } from './written-values.ts';

export function writtenServer(server: AuthorizationServer, show: ShowSource): AuthorizationServerFile {
  const { issuer, tokenEndpoint, clientId, clientAuth, grant, extraParams, timeoutMs, tls, dpop } = server;
  return {
    ...(issuer !== undefined && { issuer }),
    ...(tokenEndpoint !== undefined && { token_endpoint: hideKeys(tokenEndpoint) }),
    ...(clientId !== undefined && { client_id: clientId }),
    client_auth: writtenClientAuth(clientAuth, show),
    grant,
    ...(extraParams.length > 0 && { extra_params: Object.fromEntries(extraParams.map(([name]) => [name, HIDDEN])) }),
    timeout: duration(timeoutMs),
    ...(tls !== undefined && { tls: writtenTls(tls, show) }),
    dpop,
    allow_insecure_http: server.allowInsecureHttp,
  };
}

function writtenClientAuth(auth: ClientAuth, show: ShowSource): ClientAuthFile {
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
      return { method, client_secret: source(auth.clientSecret, show), ...algorithm(auth.alg), ...assertion(auth) };
    case 'private_key_jwt':
      return {
        method,
        private_key: source(auth.privateKey, show),
        ...algorithm(auth.alg),
        ...(auth.keyId !== undefined && { key_id: auth.keyId }),
        ...(auth.certificate !== undefined && { certificate: { file: show(auth.certificate) } }),
        ...assertion(auth),
      };
    case 'client_assertion':
      return {
        method,
        ...('authorizationServer' in auth.clientAssertion
          ? { from: writtenFrom(auth.clientAssertion) }
          : { client_assertion: { file: show(auth.clientAssertion) } }),
        client_assertion_type: auth.clientAssertionType,
      };
    default:
      return method satisfies never;
  }
}

function writtenFrom({ authorizationServer, scope }: AssertionFrom): ClientAuthFile['from'] {
  return { authorization_server: authorizationServer.name, scope };
}

function algorithm(alg: string | undefined): Pick<ClientAuthFile, 'alg'> {
  return alg === undefined ? {} : { alg: alg as NonNullable<ClientAuthFile['alg']> };
}

function assertion(auth: { assertionAudience: string | undefined; assertionLifetimeMs: number }) {
  return {
    ...(auth.assertionAudience !== undefined && { assertion_audience: auth.assertionAudience }),
    assertion_lifetime: duration(auth.assertionLifetimeMs),
  };
}
