import type { AssertionFrom, AuthorizationServer } from './authorization-server.ts';
import type { Config } from './config.ts';
import type { Credential } from './route.ts';
import type { SubjectVerification } from './verification.ts';

/** The authorization servers that a credential uses, in the order of their requests. */
export function usedServers(credential: Credential): AuthorizationServer[] {
  if (credential.kind === 'client_credentials') return withIssuer(credential.authorizationServer);
  if (credential.kind !== 'exchange') return [];
  const { authorizationServer, chain } = credential;
  return [...(chain === undefined ? [] : withIssuer(chain.authorizationServer)), ...withIssuer(authorizationServer)];
}

/** A server, after the one that issues the client assertion for it. */
export function withIssuer(server: AuthorizationServer): AuthorizationServer[] {
  const from = assertionFrom(server);
  return from === undefined ? [server] : [from.authorizationServer, server];
}

/** The issuer of the client assertion for a server. Undefined if cambist authenticates itself by other means. */
export function assertionFrom({ clientAuth }: AuthorizationServer): AssertionFrom | undefined {
  return clientAuth.method === 'client_assertion' ? clientAuth.from : undefined;
}

export function verifications({ routes, inbound }: Pick<Config, 'routes' | 'inbound'>): SubjectVerification[] {
  return [...routes.map(({ subjectToken }) => subjectToken.verify), inbound?.verify].filter(
    (each) => each !== undefined,
  );
}

/** The authorization servers that are asked about subject tokens. */
export function introspectingServers(config: Pick<Config, 'routes' | 'inbound'>): AuthorizationServer[] {
  return verifications(config).flatMap(({ introspection }) => introspection?.authorizationServer ?? []);
}

/** The authorization servers whose tokens requests to transmitters have, and the issuers of their client assertions. */
export function signallingServers({ signals }: Pick<Config, 'signals'>): AuthorizationServer[] {
  return (signals?.transmitters ?? []).flatMap(({ client }) =>
    client === undefined ? [] : withIssuer(client.authorizationServer),
  );
}
