import type { AuthorizationServer, Credential } from './config.ts';

/** The authorization servers that a credential uses, in the order of their requests. */
export function usedServers(credential: Credential): AuthorizationServer[] {
  if (credential.kind === 'client_credentials') return [credential.authorizationServer];
  if (credential.kind !== 'exchange') return [];
  const { authorizationServer, chain } = credential;
  return chain === undefined ? [authorizationServer] : [chain.authorizationServer, authorizationServer];
}

/** Names of the authorization servers that a credential uses. */
export function usedServerNames(credential: Credential): string[] {
  return usedServers(credential).map(({ name }) => name);
}
