import type { IncomingMessage } from 'node:http';
import type { ErrorCode } from '../error-catalogue.ts';
import { CambistError } from '../errors.ts';
import type { McpMessage } from '../routing/conditions.ts';
import { headerDisagreement, readMcpMessage } from '../routing/mcp-message.ts';
import {
  describedResource,
  isValidHost,
  parseRequestTarget,
  type RequestTarget,
  readHost,
  targetAuthority,
  upstreamPath,
} from '../routing/request-target.ts';
import type { RouteTable } from '../routing/route-table.ts';
import { whyNoRoute } from '../routing/why-routed.ts';
import type { Arrival } from './arrival.ts';
import { hasUnclearFraming, headerValues, isEncoded, type RawHeaders } from './headers.ts';
import { responseIdOf } from './mcp-error.ts';
import type { ProxyRequest } from './proxy-request.ts';
import { type BodySource, readWhole } from './request-body.ts';
import { isMetadataRoute, upstreamMetadataPath } from './resource-metadata.ts';
import type { Received, Routed } from './steps.ts';

/**
 * Reads the request target, and refuses a request that would reach the upstream as a different one.
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND
 */
export function receive(request: ProxyRequest): Received {
  assertForwardable(request.incoming);
  const { config } = request.active;
  const raw = request.incoming.rawHeaders;
  const hosts = headerValues(raw, 'host');
  const { arrival } = request;
  // On intercepted TLS, another check refuses a wrong host with 421.
  if (arrival?.host === undefined) assertHost(hosts);
  if (targetAuthority(request.url) !== undefined && !isValidHost(targetAuthority(request.url) ?? '')) {
    throw new CambistError(
      'ERR_ROUTE_NOT_FOUND',
      'the authority of the request target is not a host with an optional port',
    );
  }
  if (arrival !== undefined && (arrival.host !== undefined || arrival.wayIn === 'redirect')) {
    return { request, target: interceptedTarget(request, arrival, hosts) };
  }
  // A data plane chooses the backend of a decision, and does not read the header.
  const isNamed = config.hostHeader !== undefined && arrival?.wayIn !== 'decision';
  const named = isNamed ? headerValues(raw, config.hostHeader) : [];
  return { request, target: parseRequestTarget(request.url, hosts, named) };
}

/**
 * The target of a request that was not sent to cambist. `host_header` has no effect, and a route without a host takes no request for
 * a host that no route names.
 * @throws {CambistError} ERR_MISDIRECTED_REQUEST where the certificate of the connection names another host; ERR_ROUTE_NOT_FOUND
 */
function interceptedTarget({ url, active }: ProxyRequest, { host }: Arrival, hosts: readonly string[]): RequestTarget {
  const target = parseRequestTarget(url, hosts);
  if (host !== undefined && (target.host !== host || !namesOnly(host, hosts))) {
    const message = `a request on a TLS connection to "${host}" is for another host, or names no host`;
    throw new CambistError('ERR_MISDIRECTED_REQUEST', message);
  }
  if (target.host === undefined || !active.table.namesHost(target.host)) {
    throw new CambistError('ERR_ROUTE_NOT_FOUND', 'no match.host names the host of the intercepted request');
  }
  return target;
}

/** Is there one line of `Host`, for this host? Most clients write its name as the config does. */
function namesOnly(host: string, hosts: readonly string[]): boolean {
  return hosts.length === 1 && (hosts[0] === host || readHost(hosts[0]) === host);
}

/** @see RFC 9112 section 3.2 */
function assertHost(hosts: readonly string[]): void {
  // Backends and agents read the first or the last of several.
  if (hosts.length > 1) throw new CambistError('ERR_ROUTE_NOT_FOUND', 'the request has more than one Host header');
  if (!isValidHost(hosts[0] ?? '')) {
    throw new CambistError('ERR_ROUTE_NOT_FOUND', 'the Host of the request is not a host with an optional port');
  }
}

function assertForwardable(incoming: IncomingMessage): void {
  if (incoming.httpVersionMajor !== 1) {
    throw new CambistError('ERR_ROUTE_NOT_FOUND', 'the HTTP version of the request is lower than 1.0');
  }
  // Node decodes chunks alone. The upstream would not learn of any other coding.
  if (hasUnclearFraming(incoming)) {
    const message = 'the request has a transfer coding other than chunked, or one in HTTP/1.0';
    throw new CambistError('ERR_ROUTE_NOT_FOUND', message);
  }
}

/** Finds the route of a request, or of the resource whose metadata it asks for. @throws {CambistError} as `matchRoute` */
export function findRoute(received: Received): Routed | Promise<Routed> {
  return upstreamMetadata(received) ?? matchRoute(received);
}

/**
 * Finds the route that matches a request. Asynchronous only where the route depends on the message in the body.
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND, ERR_HEADER_MISMATCH, ERR_MESSAGE_TOO_LARGE, ERR_REQUEST_TIMEOUT, ERR_OVERLOADED,
 *   ERR_SHUTTING_DOWN
 */
export function matchRoute({ request, target }: Received): Routed | Promise<Routed> {
  const { table } = request.active;
  const method = request.incoming.method ?? '';
  const found = table.match(target, { method, message: 'unread' });
  if (found === undefined) throw noRoute(target, table);
  if (!('bodyLimitBytes' in found))
    return { request, target, route: found, path: upstreamPath(found, target), wholeBody: undefined };
  request.assertCapacity();
  return readMessage(request, found.bodyLimitBytes).then((reading) => {
    if ('why' in reading) throw refused(reading);
    const { message, body } = reading;
    const route = table.match(target, { method, message });
    if (route === undefined) throw noRoute(target, table, body);
    return { request, target, route, path: upstreamPath(route, target), wholeBody: body };
  });
}

/**
 * Finds the route for metadata that the upstream of a route publishes itself. Undefined where the request is not for
 * metadata, or where the operator wrote a route for it.
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND
 */
function upstreamMetadata({ request, target }: Received): Routed | undefined {
  const { table } = request.active;
  const resource = describedResource(target);
  const { method } = request.incoming;
  if (resource === undefined || (method !== 'GET' && method !== 'HEAD')) return undefined;
  if (isMetadataRoute(table.candidates(target)[0]) || table.candidates(resource).length === 0) return undefined;
  // The route of a GET to the resource. Methods and spellings that other routes want have the same metadata.
  const route = table.match(resource, { method: 'GET', message: undefined });
  if (route === undefined) throw noRoute(resource, table);
  return { request, target, route, path: upstreamMetadataPath(route, resource), wholeBody: undefined };
}

function noRoute(target: RequestTarget, table: RouteTable, body?: Buffer): CambistError {
  const message = `no route takes the request: ${whyNoRoute(target, table)}`;
  const responseId = body && responseIdOf(body);
  return new CambistError('ERR_ROUTE_NOT_FOUND', message, { team: table.ownerOf(target), responseId });
}

/** The message that decides the route, and its body, which goes upstream unchanged; or why the message is refused. */
type ReadMessage = { readonly message: McpMessage; readonly body: Buffer } | RefusedMessage;

interface RefusedMessage {
  readonly code: ErrorCode;
  readonly why: string;
  readonly body?: Buffer;
}

/**
 * Reads the message in a body. Refuses one that the backend may read differently.
 * @param limitBytes size of the largest body to read
 * @throws {CambistError} ERR_REQUEST_TIMEOUT, ERR_OVERLOADED
 */
export async function readMessage(source: BodySource, limitBytes: number, known?: Buffer): Promise<ReadMessage> {
  const raw = source.incoming.rawHeaders;
  const encoded = encodingProblem(raw);
  if (encoded !== undefined) return { code: 'ERR_ROUTE_NOT_FOUND', why: encoded };
  const body = known ?? (await readWhole(source, limitBytes));
  if (body === undefined) return { code: 'ERR_MESSAGE_TOO_LARGE', why: `its body is larger than ${limitBytes} bytes` };
  const reading = readMcpMessage(body);
  if ('wrong' in reading) return { code: 'ERR_ROUTE_NOT_FOUND', why: reading.wrong, body };
  const disagreement = headerDisagreement(reading, {
    versions: headerValues(raw, 'mcp-protocol-version'),
    methods: headerValues(raw, 'mcp-method'),
    names: headerValues(raw, 'mcp-name'),
  });
  if (disagreement !== undefined) return { code: 'ERR_HEADER_MISMATCH', why: disagreement, body };
  return { message: reading.message, body };
}

/** Bounds the search for `charset`, which takes quadratic time. */
const MAX_CONTENT_TYPE = 256;

/** Says why the headers do not announce plain JSON in UTF-8. */
function encodingProblem(raw: RawHeaders): string | undefined {
  if (isEncoded(raw)) return 'its body is compressed';
  // A parser that ignores quoted pairs finds the name of a parameter where this search does not, so any text counts.
  const types = headerValues(raw, 'content-type');
  if (types.some((type) => type.length > MAX_CONTENT_TYPE)) return 'its Content-Type is too long';
  const charsets = types.flatMap((type) => [...type.matchAll(/charset[^=]*=\s*"?([^";,\s]*)/gi)]);
  if (types.length > 1 || charsets.some(([, name]) => name?.toLowerCase() !== 'utf-8')) {
    return 'its Content-Type names another charset than UTF-8, or occurs twice';
  }
  return undefined;
}

function refused({ code, why, body }: RefusedMessage): CambistError {
  const isTooLarge = code === 'ERR_MESSAGE_TOO_LARGE';
  const fix = isTooLarge
    ? ': raise retry_body_limit of the routes with this host and path, or send a smaller message'
    : '';
  const message = `the route depends on the message, and the request is refused: ${why}${fix}`;
  return new CambistError(code, message, body && { responseId: responseIdOf(body) });
}
