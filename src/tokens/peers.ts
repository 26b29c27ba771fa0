import type { AuthorizationServer } from '../config/authorization-server.ts';
import { formatDuration } from '../config/units.ts';
import type { PeerOptions } from '../transport/dispatchers.ts';

/** Time limit for connecting to an issuer, and for the discovery and the fetch of its keys together. */
export const KEYS_TIMEOUT_MS = 5000;

/** An issuer, for the requests for its metadata and keys. A client certificate is for the token endpoint, and these need none. */
export function issuerPeer({ issuer, ca }: { readonly issuer: string; readonly ca: string | undefined }): PeerOptions {
  return {
    name: `issuer "${issuer}"`,
    tls: ca === undefined ? undefined : { ca, certificate: undefined, privateKey: undefined },
    connectMs: KEYS_TIMEOUT_MS,
  };
}

/** Completes the message about a response that came too late: the limit, its key, and how to fix it. */
export function beyondTimeout({ name, timeoutMs }: AuthorizationServer): string {
  return `within ${formatDuration(timeoutMs)}: allow connections to it, or raise authorization_servers.${name}.timeout`;
}

/** The same for the keys of an issuer, whose limit has no key. */
export const BEYOND_KEYS_TIMEOUT = `within ${formatDuration(KEYS_TIMEOUT_MS)}: allow connections to it, or find out why it is slow`;

export function serverPeer({ name, tls, timeoutMs }: AuthorizationServer): PeerOptions {
  return { name: `authorization server "${name}"`, tls, connectMs: timeoutMs };
}
