import type { Dispatcher } from 'undici';
import type { AuthorizationServer } from '../config/config.ts';
import { mayUsePlainHttp } from '../config/plain-http.ts';
import { CambistError } from '../errors.ts';
import { boundedRequest, type HttpAnswer } from './bounded-request.ts';

/** What cambist needs of an authorization server's metadata. */
export interface ServerMetadata {
  readonly tokenEndpoint: string;
}

/**
 * Where the metadata of an issuer may lie, best first.
 * @see RFC 8414 section 3.1 (inserted before the issuer's path), OpenID Connect Discovery 1.0 section 4 (appended)
 */
export function metadataUrls(issuer: string): readonly string[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, '');
  return [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}${path}/.well-known/openid-configuration`,
  ];
}

/**
 * Fetches the metadata of an issuer from the first place that has it.
 * @throws {CambistError} ERR_STS_UNAVAILABLE where no place has a usable document of this very issuer
 */
export async function discover(
  server: AuthorizationServer,
  issuer: string,
  dispatcher: Dispatcher,
  signal: AbortSignal,
): Promise<ServerMetadata> {
  let failure: CambistError | undefined;
  for (const url of metadataUrls(issuer)) {
    let status: number | undefined;
    try {
      const headers = { accept: 'application/json' };
      const answer = await boundedRequest(dispatcher, { method: 'GET', url, headers, signal });
      status = answer.status;
      return readMetadata(answer, server, issuer);
    } catch (error) {
      const found = error instanceof CambistError ? error : unavailable(server, 'it cannot be reached', error);
      // What is wrong with a document says more than that there is none in the other place.
      if (failure === undefined || status === 200) failure = found;
    }
  }
  throw failure ?? unavailable(server, 'it has no metadata');
}

/**
 * Reads a metadata document. Pure.
 * @throws {CambistError} ERR_STS_UNAVAILABLE where it is unusable or of another issuer
 * @see RFC 8414 section 3.3: `issuer` must be identical
 */
export function readMetadata(answer: HttpAnswer, server: AuthorizationServer, issuer: string): ServerMetadata {
  if (answer.status !== 200) throw unavailable(server, `its metadata is answered with ${answer.status}`);
  let document: unknown;
  try {
    document = JSON.parse(answer.text);
  } catch {
    throw unavailable(server, 'its metadata is no JSON');
  }
  const { issuer: named, token_endpoint: endpoint } = Object(document) as Record<string, unknown>;
  if (named !== issuer) {
    throw unavailable(
      server,
      'its metadata is of another issuer: set "issuer" to exactly what the server calls itself',
    );
  }
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint))
    throw unavailable(server, 'its metadata names no "token_endpoint"');
  const { protocol, hostname } = new URL(endpoint);
  const secure =
    protocol === 'https:' || (protocol === 'http:' && (server.allowInsecureHttp || mayUsePlainHttp(hostname)));
  if (!secure) throw unavailable(server, 'its "token_endpoint" is not https');
  return { tokenEndpoint: endpoint };
}

function unavailable(server: AuthorizationServer, why: string, cause?: unknown): CambistError {
  return new CambistError('ERR_STS_UNAVAILABLE', `authorization server "${server.name}": ${why}`, { cause });
}
