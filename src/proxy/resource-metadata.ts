import type { Route } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { WELL_KNOWN } from '../request-paths.ts';
import { describedResource, type RequestTarget, upstreamPath } from '../routing/request-target.ts';
import { type CredentialHeaders, containsToken, headerTokens } from './caller-tokens.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import type { OwnResponse, WantedToken } from './own-response.ts';
import type { ProxyRequest } from './proxy-request.ts';
import type { Received } from './steps.ts';

export interface ClientRequest {
  readonly url: string;
  readonly rawHeaders: RawHeaders;
  readonly credentialHeaders: CredentialHeaders;
  /** Set if the client's connection is TLS that cambist terminates. */
  readonly secure?: boolean;
}

export function clientOf(request: Pick<ProxyRequest, 'url' | 'incoming' | 'active' | 'arrival'>): ClientRequest {
  const { url, incoming, active, arrival } = request;
  const secure = arrival?.host !== undefined || 'encrypted' in incoming.socket;
  return { url, rawHeaders: incoming.rawHeaders, credentialHeaders: active.credentialHeaders, secure };
}

/**
 * Admits a request for the metadata of a resource that cambist issues tokens for.
 * @returns the response. Undefined for every other request, and where the operator wrote a route for the metadata
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND, ERR_OVERLOADED, ERR_SHUTTING_DOWN
 * @see RFC 9728 section 3.1
 */
export function admitMetadataRequest({ request, target }: Received): OwnResponse | undefined {
  const resource = describedResource(target);
  if (resource === undefined) return undefined;
  const { table } = request.active;
  if (isMetadataRoute(table.candidates(target)[0])) return undefined;
  const routes = table.candidates(resource);
  const route = routes.find(describesItself);
  if (route === undefined) return undefined;
  request.admit({ route, target });
  const { method } = request.incoming;
  const isRead = method === 'GET' || method === 'HEAD';
  const body = isRead ? resourceMetadata(routes, resource.path ?? '/', clientOf(request)) : undefined;
  if (body === undefined) {
    throw new CambistError(
      'ERR_ROUTE_NOT_FOUND',
      `route "${route.name}" has no metadata to show: it needs a GET, a Host, and an authorization server with an issuer`,
    );
  }
  const headers = {
    'content-type': 'application/json',
    'cache-control': 'no-store',
    'x-request-id': request.record.id,
  };
  return { status: 200, headers, body };
}

function metadataPath(path: string): string {
  return WELL_KNOWN + (path === '/' ? '' : path);
}

/** The path of the metadata that an upstream publishes itself. */
export function upstreamMetadataPath(route: Route, resource: RequestTarget): string {
  const path = upstreamPath(route, { ...resource, query: '' });
  return metadataPath(path) + resource.query;
}

/** Did the operator write a route for the metadata itself? */
export function isMetadataRoute(route: Route | undefined): boolean {
  return route?.match.path.startsWith(WELL_KNOWN) === true;
}

/** The issuer of the subject tokens that a route accepts, where the config names it. */
export function issuerOf({ credential, subjectToken }: Route): string | undefined {
  if (subjectToken.verify !== undefined) return subjectToken.verify.issuer;
  if (credential.kind === 'client_credentials') return credential.authorizationServer.issuer;
  if (credential.kind !== 'exchange') return undefined;
  return (credential.chain ?? credential).authorizationServer.issuer;
}

/** Does cambist itself publish the metadata of this route? The metadata of a backend with a secret is of no use to callers. */
export function describesItself({ credential, subjectToken }: Route): boolean {
  return (credential.kind !== 'passthrough' && credential.kind !== 'none') || subjectToken.verify !== undefined;
}

/**
 * The metadata of a resource as JSON. It tells a client where to get the token that cambist then exchanges.
 * @param routes all routes for the resource's path
 * @param path of the resource
 * @returns undefined where the issuer or the client's URL of the resource is unknown
 * @see RFC 9728 section 2
 */
export function resourceMetadata(routes: readonly Route[], path: string, client: ClientRequest): string | undefined {
  const issuers = new Set(routes.map(issuerOf).filter((issuer) => issuer !== undefined));
  const resource = issuers.size === 0 ? undefined : clientUrl(path, path === '/' ? '' : path, client);
  if (resource === undefined) return undefined;
  const scopes = new Set(routes.flatMap((route) => scopeOf(route)?.split(' ') ?? []));
  return JSON.stringify({
    resource,
    authorization_servers: [...issuers],
    bearer_methods_supported: ['header'],
    ...(scopes.size > 0 && { scopes_supported: [...scopes] }),
  });
}

/** The scopes that a caller's token should have at a route that exchanges or verifies it. */
function scopeOf({ credential, subjectToken: { own, scope, verify } }: Route): string | undefined {
  const usesCallersToken = credential.kind === 'exchange' || verify !== undefined;
  return usesCallersToken && own === undefined ? scope : undefined;
}

/** The token that a caller of a route needs. @param path of the resource */
export function wantedToken(route: Route, path: string | undefined, client: ClientRequest): WantedToken {
  return { scope: scopeOf(route), resourceMetadata: metadataUrl(route, path, client) };
}

/**
 * The URL of that metadata, safe in a quoted string. Undefined where the route has none.
 * @param path of the resource
 */
export function metadataUrl(route: Route, path: string | undefined, client: ClientRequest): string | undefined {
  return issuerOf(route) === undefined || path === undefined ? undefined : clientUrl(path, metadataPath(path), client);
}

/** A host with or without a port. Contains no character that could end a quoted string. */
const AUTHORITY = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/;
const PATH = /^\/[A-Za-z0-9\-._~:/@!$&'()*+,;=%]{0,1023}$/;
const ABSOLUTE_FORM = /^(https?):\/\/([^/?#]*)/i;

/**
 * A URL at the origin that the client used.
 * @param asked the path that the client asked for or about
 * @returns undefined where the URL is unknown, malformed or contains a credential of the client
 */
function clientUrl(asked: string, path: string, client: ClientRequest): string | undefined {
  const origin = clientOrigin(client);
  if (origin === undefined || !PATH.test(asked)) return undefined;
  const url = origin + path;
  return containsToken(url, headerTokens(client.rawHeaders, client.credentialHeaders)) ? undefined : url;
}

/** Scheme and authority of the URL that the client used. */
function clientOrigin({ url, rawHeaders, secure = false }: ClientRequest): string | undefined {
  const [, written = forwardedScheme(rawHeaders), named] = ABSOLUTE_FORM.exec(url) ?? [];
  const scheme = secure ? 'https' : written;
  const hosts = headerValues(rawHeaders, 'host');
  const authority = named ?? (hosts.length === 1 ? hosts[0] : undefined);
  if (authority === undefined || !AUTHORITY.test(authority)) return undefined;
  return `${scheme.toLowerCase()}://${authority.toLowerCase()}`;
}

/** Without TLS on the listener, a terminator in front may say that the client used https. A wrong value misleads only the client that sent it. */
function forwardedScheme(rawHeaders: RawHeaders): 'http' | 'https' {
  const values = headerValues(rawHeaders, 'x-forwarded-proto');
  return values.length === 1 && values[0]?.trim().toLowerCase() === 'https' ? 'https' : 'http';
}
