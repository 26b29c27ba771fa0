import type { AuthorizationServer, Credential } from './config.ts';

/** The authorization servers that a credential asks, in the order in which it asks them. */
export function usedServers(credential: Credential): AuthorizationServer[] {
  if (credential.kind === 'client_credentials') return [credential.authorizationServer];
  if (credential.kind !== 'exchange') return [];
  const { authorizationServer, chain } = credential;
  return chain === undefined ? [authorizationServer] : [chain.authorizationServer, authorizationServer];
}

/** Their names. */
export function usedServerNames(credential: Credential): string[] {
  return usedServers(credential).map(({ name }) => name);
}
