import type { Clock } from '../clock/clock.ts';
import type { Config, Route } from '../config/config.ts';
import { CambistError } from '../errors.ts';
import { parseRequestTarget, type RequestTarget } from '../routing/request-target.ts';
import { createRouteTable, type RouteTable } from '../routing/route-table.ts';
import { upstreamPath } from '../routing/upstream-path.ts';
import { whyNone } from '../routing/why-none.ts';
import type { Broker } from '../tokens/broker.ts';
import type { SubjectSource } from '../tokens/subject-source.ts';
import { bearerFor } from './bearer.ts';
import { type CredentialHeaders, containsToken, headerTokens, MAX_TOKENS } from './caller-tokens.ts';
import { upstreamHeaders } from './forwarded-headers.ts';
import { headerValues } from './headers.ts';
import { readMessage } from './message.ts';
import type { Passage, UpstreamLeg } from './passage.ts';
import { takeBody, wholeBody } from './request-body.ts';
import { type WithheldHeaders, withheldHeaders } from './withheld-headers.ts';

/** A config and the route table made of it; a request keeps the one that it began with. */
export interface Serving {
  readonly config: Config;
  readonly table: RouteTable;
  readonly withheld: WithheldHeaders;
  readonly tokenHeaders: CredentialHeaders;
}

/** All that can be worked out before a request comes. */
export function createServing(config: Config): Serving {
  const tokenHeaders = new Set(['authorization', ...config.routes.map(({ subjectToken }) => subjectToken.header)]);
  const withheld = withheldHeaders(config, tokenHeaders);
  return { config, table: createRouteTable(config.routes), withheld, tokenHeaders };
}

export interface AdmissionOptions {
  readonly broker: Broker;
  readonly subjects: SubjectSource;
  readonly clock: Clock;
}

/** The route of a request, and what was read of the request to find it. */
export interface Found {
  readonly route: Route;
  /** Path and query that go upstream. */
  readonly path: string;
  /** The whole body, where the route depended on the message in it. */
  readonly body: Buffer | undefined;
}

/** What a request names. */
export function targetOf({ url, request }: Passage, { config }: Serving): RequestTarget {
  const raw = request.rawHeaders;
  const named = config.hostHeader === undefined ? [] : headerValues(raw, config.hostHeader);
  return parseRequestTarget(url, headerValues(raw, 'host'), named);
}

/**
 * Synchronous but where the body has to be read.
 * @param beforeReading throws where no body is to be read now
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND
 */
export function findRoute(
  { request }: Passage,
  target: RequestTarget,
  { table }: Serving,
  beforeReading: () => void,
): Found | Promise<Found> {
  const method = request.method ?? '';
  const found = table.match(target, { method, message: 'unread' });
  if (found === undefined) throw noRoute(target, table);
  if ('bodyLimitBytes' in found) {
    beforeReading();
    return readMessage(request, found.bodyLimitBytes).then(({ message, body }) => {
      const route = table.match(target, { method, message });
      if (route === undefined) throw noRoute(target, table);
      return { route, path: upstreamPath(route, target), body };
    });
  }
  return { route: found, path: upstreamPath(found, target), body: undefined };
}

/** That no route takes what a request names, and why. */
export function noRoute(target: RequestTarget, table: RouteTable): CambistError {
  return new CambistError('ERR_ROUTE_NOT_FOUND', `no route takes the request: ${whyNone(target, table)}`);
}

/**
 * From a request to all that goes upstream: the scoped bearer in place of the caller's token, headers, body. Whatever is
 * missing or in doubt ends here.
 * @throws {CambistError} ERR_SUBJECT_TOKEN_*, and all that an exchange may throw
 */
export async function admit(
  passage: Passage,
  { route, path, body: read }: Found,
  serving: Serving,
  options: AdmissionOptions,
): Promise<UpstreamLeg> {
  const { request } = passage;
  const raw = request.rawHeaders;
  const credentials = headerValues(raw, 'authorization');
  if (credentials.length > 1) throw ambiguous('more than one Authorization header');
  const { header } = route.subjectToken;
  const values = header === 'authorization' ? credentials : headerValues(raw, header);
  const sent = headerTokens(raw, serving.tokenHeaders);
  if (sent.length > MAX_TOKENS) throw ambiguous(`more than ${MAX_TOKENS} tokens`);
  const callerTokens = route.credential.kind === 'passthrough' ? [] : sent;
  if (containsToken(path, callerTokens)) throw ambiguous("the caller's token in the URL as well");

  const found = route.credential.kind === 'exchange' ? options.subjects(route, request.socket, values) : undefined;
  const subject = found instanceof Promise ? await found : found;
  const keepBytes = 'authorizationServer' in route.credential ? route.retryBodyLimitBytes : 0;
  const body = read === undefined ? await takeBody(request, keepBytes) : wholeBody(read);
  // After the body: a caller may take longer over it than a token lives.
  const pending = bearerFor(passage, route, subject, serving.config.session.header, serving.table, options);
  const bearer = pending instanceof Promise ? await pending : pending;
  const headers = upstreamHeaders(raw, {
    host: route.upstream.host,
    withheld: serving.withheld.onPassthrough.get(route) ?? serving.withheld.common,
    callerTokens,
    requestId: passage.id,
  });
  return { path, headers, body, bearer };
}

function ambiguous(what: string): CambistError {
  return new CambistError('ERR_SUBJECT_TOKEN_INVALID', `the request bears ${what}: send the token once`);
}
