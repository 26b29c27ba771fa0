import type { AuthorizationServer, Credential } from './config.ts';

/** The authorization servers that a credential asks, in the order in which it asks them. */
export function askedServers(credential: Credential): AuthorizationServer[] {
  if (credential.kind === 'client_credentials') return [credential.authorizationServer];
  if (credential.kind !== 'exchange') return [];
  const { authorizationServer, chain } = credential;
  return chain === undefined ? [authorizationServer] : [chain.authorizationServer, authorizationServer];
}

/** Their names. */
export function serverNames(credential: Credential): string[] {
  return askedServers(credential).map(({ name }) => name);
}
