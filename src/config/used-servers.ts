import type { AssertionFrom, AuthorizationServer } from './authorization-server.ts';
import type { Config } from './config.ts';
import { type Credential, type Route, readsCaller } from './route.ts';
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

/**
 * The names of the routes that serve disabled and deleted users of this issuer until cached tokens expire: Keycloak sends no signal
 * about them, and these routes do not introspect. Empty where the issuer is not a Keycloak.
 */
export function routesUnawareOfDisabledUsers(issuer: string, routes: readonly Route[]): string[] {
  if (!issuer.includes('/realms/')) return [];
  const isOfIssuer = ({ credential, subjectToken: { verify } }: Route): boolean =>
    verify === undefined
      ? credential.kind === 'exchange' && usedServers(credential).some((server) => server.issuer === issuer)
      : verify.issuer === issuer && verify.introspection === undefined;
  return routes.filter((route) => readsCaller(route) && isOfIssuer(route)).map(({ name }) => name);
}
