import type { Credential } from '../config/config.ts';

/** The names of the authorization servers that a credential asks, in the order in which it asks them. */
export function serverNames(credential: Credential): string[] {
  if (credential.kind === 'client_credentials') return [credential.authorizationServer.name];
  if (credential.kind !== 'exchange') return [];
  const { authorizationServer, chain } = credential;
  return chain === undefined ? [authorizationServer.name] : [chain.authorizationServer.name, authorizationServer.name];
}
