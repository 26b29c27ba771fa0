import type { AuthorizationServer } from '../config/authorization-server.ts';
import { formatDuration } from '../config/units.ts';
import { CambistError } from '../errors.ts';
import { oncePer } from '../secrets/secret.ts';
import type { PeerOptions } from '../transport/dispatchers.ts';
import { type BoundedRequest, isTimeout, type RequestUrl, ResponseTooLargeError } from './bounded-request.ts';
import type { ClientAuthentication } from './client-auth.ts';
import { encodeForm, type FormField } from './sent-values.ts';

export function serverLabel(server: AuthorizationServer): string {
  return `authorization server "${server.name}"`;
}

/** Time limit for connecting to an issuer, and for the discovery and the fetch of its keys together. */
export const KEYS_TIMEOUT_MS = 5000;

/** An issuer, for the requests for its metadata and keys. A client certificate is for the token endpoint, and these need none. */
export const issuerPeer = oncePer(
  ({ issuer, ca }: { readonly issuer: string; readonly ca: string | undefined }): PeerOptions => ({
    name: `issuer "${issuer}"`,
    tls: ca === undefined ? undefined : { ca, certificate: undefined, privateKey: undefined },
    connectMs: KEYS_TIMEOUT_MS,
  }),
);

/** Completes the message about a response that came too late: the limit, its key, and how to fix it. */
export function beyondTimeout({ name, timeoutMs }: AuthorizationServer): string {
  return `within ${formatDuration(timeoutMs)}: allow connections to it, or raise authorization_servers.${name}.timeout`;
}

/** The same for the keys of an issuer, whose limit has no key. */
export const BEYOND_KEYS_TIMEOUT = `within ${formatDuration(KEYS_TIMEOUT_MS)}: allow connections to it, or find out why it is slow`;

export const serverPeer = oncePer((server: AuthorizationServer): PeerOptions => {
  return { name: serverLabel(server), tls: server.tls, connectMs: server.timeoutMs };
});

/** A form for an endpoint of an authorization server, with client authentication in its header. */
export function formRequest(
  url: RequestUrl,
  fields: readonly FormField[],
  { authorization }: ClientAuthentication,
  untilMs: number,
): BoundedRequest & { readonly body: string } {
  const headers: Record<string, string> = {
    accept: 'application/json',
    'content-type': 'application/x-www-form-urlencoded',
  };
  if (authorization !== undefined) headers.authorization = authorization;
  return { method: 'POST', url, headers, body: encodeForm(fields), untilMs };
}

/**
 * The error for a request without a usable response.
 * @param endpoint its kind, as in `token endpoint`
 * @param cause what `boundedRequest` threw
 */
export function failedRequest(server: AuthorizationServer, endpoint: string, cause: unknown): CambistError {
  const label = serverLabel(server);
  if (cause instanceof ResponseTooLargeError) {
    return new CambistError('ERR_STS_RESPONSE_INVALID', `${label}: ${cause.message}`);
  }
  const why = isTimeout(cause)
    ? `sent no complete response ${beyondTimeout(server)}`
    : 'is unreachable, or its response is broken';
  const message = `${label}: the ${endpoint} ${why}`;
  return new CambistError('ERR_STS_UNAVAILABLE', message, { cause });
}
