import type { AuthorizationServer } from '../config/authorization-server.ts';
import { type CredentialSource, readCredential } from '../secrets/credential.ts';
import type { Secret } from '../secrets/secret.ts';
import type { SharedEntry } from '../tokens/shared-token.ts';

/**
 * The secret that a token is sealed under, beside the shared key: the caller's token, or the credential that the token was
 * requested with.
 * @returns undefined where the client has no lasting credential. Such tokens are not shared
 * @throws {CambistError} ERR_CREDENTIAL_UNAVAILABLE
 */
export async function sealingSecret({ subject, credential }: SharedEntry): Promise<Secret | undefined> {
  if (subject !== undefined) return subject.token;
  const server = credential.authorizationServer;
  const source = lastingCredential(server);
  return source && readCredential(source, `client credential of authorization server "${server.name}"`);
}

/** Assertions from files and from other servers are replaced within minutes or hours, and differ between replicas. */
export function lastingCredential({ clientAuth, tls }: AuthorizationServer): CredentialSource | undefined {
  switch (clientAuth.method) {
    case 'client_secret_basic':
    case 'client_secret_post':
    case 'client_secret_jwt':
      return clientAuth.clientSecret;
    case 'private_key_jwt':
      return clientAuth.privateKey;
    case 'tls_client_auth':
      return tls?.privateKey === undefined ? undefined : { file: tls.privateKey };
    case 'client_assertion':
    case 'none':
      return undefined;
  }
}
