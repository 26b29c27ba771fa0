import type { Dispatcher } from 'undici';
import type { AuthorizationServer } from '../config/config.ts';
import { mayUsePlainHttp } from '../config/plain-http.ts';
import { CambistError } from '../errors.ts';
import { boundedRequest, type HttpAnswer, toRequestUrl } from './bounded-request.ts';

/** What cambist needs of an authorization server's metadata. */
export interface ServerMetadata {
  readonly tokenEndpoint: string;
  /** The one for clients that show a certificate (RFC 8705 section 5); not there where we do not, or it is the same. */
  readonly mtlsTokenEndpoint?: string;
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
 * Fetches the metadata of an authorization server from the first place that has it.
 * @param untilMs as of a bounded request, for all places together
 * @throws {CambistError} ERR_STS_UNAVAILABLE where no place has a usable document of this very issuer
 */
export function discover(
  server: AuthorizationServer,
  issuer: string,
  dispatcher: Dispatcher,
  untilMs: number,
): Promise<ServerMetadata> {
  return discoverFrom(nameOf(server), issuer, dispatcher, untilMs, (answer) => readMetadata(answer, server, issuer));
}

/**
 * Finds out where the keys of an issuer are.
 * @param name the issuer's, for messages
 * @throws {CambistError} ERR_STS_UNAVAILABLE
 */
export function discoverJwksUri(
  name: string,
  issuer: string,
  allowInsecureHttp: boolean,
  dispatcher: Dispatcher,
  untilMs: number,
): Promise<string> {
  return discoverFrom(name, issuer, dispatcher, untilMs, (answer) =>
    readEndpoint(readDocument(answer, name, issuer), 'jwks_uri', allowInsecureHttp, name),
  );
}

async function discoverFrom<T>(
  name: string,
  issuer: string,
  dispatcher: Dispatcher,
  untilMs: number,
  read: (answer: HttpAnswer) => T,
): Promise<T> {
  let failure: CambistError | undefined;
  for (const url of metadataUrls(issuer)) {
    let status: number | undefined;
    try {
      const headers = { accept: 'application/json' };
      const answer = await boundedRequest(dispatcher, { method: 'GET', url: toRequestUrl(url), headers, untilMs });
      status = answer.status;
      return read(answer);
    } catch (error) {
      const found = error instanceof CambistError ? error : unavailable(name, 'it cannot be reached', error);
      // What is wrong with a document says more than that there is none in the other place.
      if (failure === undefined || status === 200) failure = found;
    }
  }
  throw failure ?? unavailable(name, 'it has no metadata');
}

/**
 * Reads the metadata document of an authorization server. Pure.
 * @throws {CambistError} ERR_STS_UNAVAILABLE where it is unusable or of another issuer
 * @see RFC 8414 section 3.3: `issuer` must be identical; RFC 8705 section 5: `mtls_endpoint_aliases`
 */
export function readMetadata(answer: HttpAnswer, server: AuthorizationServer, issuer: string): ServerMetadata {
  const name = nameOf(server);
  const document = readDocument(answer, name, issuer);
  const tokenEndpoint = readEndpoint(document, 'token_endpoint', server.allowInsecureHttp, name);
  const aliases = objectOf(document.mtls_endpoint_aliases);
  if (server.tls?.certificate === undefined || aliases.token_endpoint === undefined) return { tokenEndpoint };
  return {
    tokenEndpoint,
    mtlsTokenEndpoint: readEndpoint(aliases, 'token_endpoint', server.allowInsecureHttp, name),
  };
}

/**
 * Refuses metadata that lead to where another server of the config is: what one server says must not bring our credential
 * for it, or a caller's token, to another.
 * @param others all servers of the config
 * @throws {CambistError} ERR_STS_UNAVAILABLE
 */
export function checkOwnEndpoint(
  { tokenEndpoint, mtlsTokenEndpoint }: ServerMetadata,
  server: AuthorizationServer,
  others: readonly AuthorizationServer[],
): void {
  for (const endpoint of [tokenEndpoint, mtlsTokenEndpoint]) {
    if (endpoint === undefined) continue;
    const { origin } = new URL(endpoint);
    if (originOf(server.issuer) === origin) continue;
    const owner = others.find(
      (other) =>
        other.issuer !== server.issuer && [other.issuer, other.tokenEndpoint].some((url) => originOf(url) === origin),
    );
    if (owner === undefined) continue;
    throw unavailable(
      nameOf(server),
      `its metadata lead to the host of authorization server "${owner.name}": if that is right, set "token_endpoint"`,
    );
  }
}

function originOf(url: string | undefined): string | undefined {
  return url === undefined ? undefined : new URL(url).origin;
}

function readDocument(answer: HttpAnswer, name: string, issuer: string): Record<string, unknown> {
  if (answer.status !== 200) throw unavailable(name, `its metadata is answered with ${answer.status}`);
  let document: Record<string, unknown>;
  try {
    document = objectOf(JSON.parse(answer.text));
  } catch {
    throw unavailable(name, 'its metadata is no JSON');
  }
  if (document.issuer !== issuer) {
    throw unavailable(name, 'its metadata is of another issuer: set "issuer" to exactly what the server calls itself');
  }
  return document;
}

function readEndpoint(
  document: Record<string, unknown>,
  field: 'token_endpoint' | 'jwks_uri',
  allowInsecureHttp: boolean,
  name: string,
): string {
  const endpoint = document[field];
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint))
    throw unavailable(name, `its metadata names no "${field}"`);
  const { protocol, hostname } = new URL(endpoint);
  const secure = protocol === 'https:' || (protocol === 'http:' && (allowInsecureHttp || mayUsePlainHttp(hostname)));
  if (!secure) throw unavailable(name, `its "${field}" is not https`);
  return endpoint;
}

function objectOf(value: unknown): Record<string, unknown> {
  return Object(value) as Record<string, unknown>;
}

function nameOf(server: AuthorizationServer): string {
  return `authorization server "${server.name}"`;
}

function unavailable(name: string, why: string, cause?: unknown): CambistError {
  return new CambistError('ERR_STS_UNAVAILABLE', `${name}: ${why}`, { cause });
}
