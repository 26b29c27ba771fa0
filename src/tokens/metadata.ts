import type { AuthorizationServer } from '../config/authorization-server.ts';
import { isLoopback, mayUsePlainHttp } from '../config/hostnames.ts';
import { CambistError } from '../errors.ts';
import type { HttpResponse } from './bounded-request.ts';

/** The part of an authorization server's metadata that cambist uses. */
export interface ServerMetadata {
  readonly tokenEndpoint: string;
  /** The separate endpoint for clients with a certificate, where both exist (RFC 8705 section 5). */
  readonly mtlsTokenEndpoint?: string;
}

type EndpointField = 'token_endpoint' | 'jwks_uri' | 'introspection_endpoint';

/**
 * The URLs of an issuer's metadata, in order of preference.
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
 * Reads the metadata of an authorization server. Pure.
 * @throws {CambistError} ERR_STS_METADATA_INVALID if the document is unusable or belongs to another issuer
 * @see RFC 8414 section 3.3: `issuer` must be identical; RFC 8705 section 5: `mtls_endpoint_aliases`
 */
export function readMetadata(response: HttpResponse, server: AuthorizationServer, issuer: string): ServerMetadata {
  const name = serverLabel(server);
  const document = readDocument(response, name, issuer);
  const endpoint = (from: Record<string, unknown>) =>
    readEndpoint(from, 'token_endpoint', name, issuer, server.allowInsecureHttp);
  const tokenEndpoint = endpoint(document);
  const aliases = objectOf(document.mtls_endpoint_aliases);
  if (server.tls?.certificate === undefined || aliases.token_endpoint === undefined) return { tokenEndpoint };
  return { tokenEndpoint, mtlsTokenEndpoint: endpoint(aliases) };
}

/**
 * Reads the introspection endpoint of a server from its metadata, for clients with a certificate the separate one. Pure.
 * @throws {CambistError} ERR_STS_METADATA_INVALID
 * @see RFC 8414 section 2
 */
export function readIntrospectionEndpoint(response: HttpResponse, server: AuthorizationServer, issuer: string): string {
  const name = serverLabel(server);
  const document = readDocument(response, name, issuer);
  const aliases = objectOf(document.mtls_endpoint_aliases);
  const isSeparate = server.tls?.certificate !== undefined && aliases.introspection_endpoint !== undefined;
  return readEndpoint(
    isSeparate ? aliases : document,
    'introspection_endpoint',
    name,
    issuer,
    server.allowInsecureHttp,
  );
}

/**
 * Reads the URL of an issuer's keys from its metadata. Pure.
 * @param name the issuer, for messages
 * @throws {CambistError} ERR_STS_METADATA_INVALID
 */
export function readJwksUri(response: HttpResponse, name: string, issuer: string, allowInsecureHttp: boolean): string {
  return readEndpoint(readDocument(response, name, issuer), 'jwks_uri', name, issuer, allowInsecureHttp);
}

/** Why metadata must not name an endpoint. */
type EndpointProblem = 'insecure' | 'loopback';

/**
 * Checks an endpoint that metadata names. An https issuer must name https, and only an issuer on loopback may name loopback.
 * Otherwise metadata could send a client secret in clear text, or to an admin port of this pod.
 */
export function endpointProblem(
  endpoint: URL,
  issuer: string,
  allowInsecureHttp: boolean,
): EndpointProblem | undefined {
  const { protocol, hostname } = new URL(issuer);
  if (isLoopback(endpoint.hostname) && !isLoopback(hostname)) return 'loopback';
  if (endpoint.protocol === 'https:') return undefined;
  const mayBePlain = protocol === 'http:' && (allowInsecureHttp || mayUsePlainHttp(endpoint.hostname));
  return endpoint.protocol === 'http:' && mayBePlain ? undefined : 'insecure';
}

function readDocument(response: HttpResponse, name: string, issuer: string): Record<string, unknown> {
  if (response.status !== 200) throw invalid(name, `the request for its metadata returned status ${response.status}`);
  let document: Record<string, unknown>;
  try {
    document = objectOf(JSON.parse(response.text));
  } catch {
    throw invalid(name, 'its metadata is invalid JSON');
  }
  if (document.issuer !== issuer) {
    throw invalid(name, 'its metadata belongs to another issuer: set "issuer" to the exact issuer in the metadata');
  }
  return document;
}

function readEndpoint(
  document: Record<string, unknown>,
  field: EndpointField,
  name: string,
  issuer: string,
  allowInsecureHttp: boolean,
): string {
  const endpoint = document[field];
  if (typeof endpoint !== 'string' || !URL.canParse(endpoint)) {
    throw invalid(name, `its metadata has no usable "${field}": set "${field}"`);
  }
  switch (endpointProblem(new URL(endpoint), issuer, allowInsecureHttp)) {
    case 'insecure':
      throw invalid(
        name,
        `its metadata names a "${field}" without https: make the server publish its https URL, or set "${field}"`,
      );
    case 'loopback':
      throw invalid(
        name,
        `its metadata names a "${field}" on loopback, but the issuer is on another host: make the server publish ` +
          `its own address, or set "${field}"`,
      );
    default:
      return endpoint;
  }
}

function objectOf(value: unknown): Record<string, unknown> {
  return Object(value) as Record<string, unknown>;
}

/** The name of a server in messages. */
export function serverLabel(server: AuthorizationServer): string {
  return `authorization server "${server.name}"`;
}

function invalid(name: string, why: string): CambistError {
  return new CambistError('ERR_STS_METADATA_INVALID', `${name}: ${why}`);
}
