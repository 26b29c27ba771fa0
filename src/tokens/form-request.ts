import type { AuthorizationServer } from '../config/authorization-server.ts';
import { CambistError } from '../errors.ts';
import { type BoundedRequest, isTimeout, type RequestUrl, ResponseTooLargeError } from './bounded-request.ts';
import type { ClientAuthentication } from './client-auth.ts';
import { encodeForm, type FormField } from './form-encoding.ts';
import { serverLabel } from './metadata.ts';
import { beyondTimeout } from './peers.ts';

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
