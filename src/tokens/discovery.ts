import type { Dispatcher } from 'undici';
import type { AuthorizationServer } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import { boundedRequest, type HttpResponse, toRequestUrl } from './bounded-request.ts';
import { metadataUrls, readJwksUri, readMetadata, type ServerMetadata, serverLabel } from './metadata.ts';

/**
 * Fetches the metadata of an authorization server.
 * @param untilMs deadline of a bounded request, for all URLs together
 * @throws {CambistError} ERR_STS_UNAVAILABLE when no URL has a usable document of this issuer
 */
export function discover(
  server: AuthorizationServer,
  issuer: string,
  dispatcher: Dispatcher,
  untilMs: number,
): Promise<ServerMetadata> {
  const read = (response: HttpResponse) => readMetadata(response, server, issuer);
  return fetchMetadata(serverLabel(server), issuer, dispatcher, untilMs, read);
}

/**
 * Finds the URL of an issuer's keys.
 * @param name the issuer, for messages
 * @throws {CambistError} ERR_STS_UNAVAILABLE
 */
export function discoverJwksUri(
  name: string,
  issuer: string,
  allowInsecureHttp: boolean,
  dispatcher: Dispatcher,
  untilMs: number,
): Promise<string> {
  const read = (response: HttpResponse) => readJwksUri(response, name, issuer, allowInsecureHttp);
  return fetchMetadata(name, issuer, dispatcher, untilMs, read);
}

async function fetchMetadata<T>(
  name: string,
  issuer: string,
  dispatcher: Dispatcher,
  untilMs: number,
  read: (response: HttpResponse) => T,
): Promise<T> {
  let failure: CambistError | undefined;
  for (const url of metadataUrls(issuer)) {
    let status: number | undefined;
    try {
      const headers = { accept: 'application/json' };
      const response = await boundedRequest(dispatcher, { method: 'GET', url: toRequestUrl(url), headers, untilMs });
      status = response.status;
      return read(response);
    } catch (error) {
      const cause = error instanceof CambistError ? error : unavailable(name, 'it cannot be reached', error);
      // A problem within a document is more useful than a missing document at the other URL.
      if (failure === undefined || status === 200) failure = cause;
    }
  }
  throw failure ?? unavailable(name, 'it has no metadata');
}

function unavailable(name: string, why: string, cause?: unknown): CambistError {
  return new CambistError('ERR_STS_UNAVAILABLE', `${name}: ${why}`, { cause });
}
