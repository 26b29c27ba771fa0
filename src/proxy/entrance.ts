import type { IncomingMessage } from 'node:http';
import { CambistError } from '../errors.ts';
import type { RequestTarget } from '../routing/request-target.ts';
import { type AdmissionOptions, admit, type Found, findRoute, noRoute, type Serving, targetOf } from './admission.ts';
import type { Passage } from './passage.ts';
import {
  describedResource,
  describesItself,
  isMetadataRoute,
  resourceMetadata,
  upstreamMetadataPath,
} from './resource-metadata.ts';
import type { Traffic } from './traffic.ts';

export interface EntranceOptions extends AdmissionOptions {
  /** The config of now; asked once a request. */
  readonly serving: () => Serving;
  readonly traffic: Traffic;
}

/**
 * Leads a request in: to its route, and then to all that goes upstream. Whatever keeps it out, and what cambist can say by itself, it
 * is answered.
 * @param admitted is called once it is in, unless its caller has left meanwhile; what that throws answers the request as well
 */
export type Entrance = (passage: Passage, admitted: (passage: Passage) => void) => void;

export function createEntrance(options: EntranceOptions): Entrance {
  const { traffic } = options;

  async function lead(passage: Passage, admitted: (passage: Passage) => void): Promise<void> {
    try {
      const serving = options.serving();
      const assertOpen = (): void => traffic.assertOpen(serving.config.limits.maxInFlight);
      assertPlainMessage(passage.request);
      const target = targetOf(passage, serving);
      passage.target = target;
      const resource = describedResource(target);
      const described = resource === undefined ? undefined : describe(passage, target, resource, serving, traffic);
      if (described === 'answered') return;
      const pending = described ?? findRoute(passage, target, serving, assertOpen);
      const found = pending instanceof Promise ? await pending : pending;
      traffic.routed(passage, found.route);
      assertOpen();
      passage.leg = await admit(passage, found, serving, options);
      if (!passage.gone) admitted(passage);
    } catch (error) {
      traffic.problem(passage, error);
    }
  }

  return (passage, admitted) => void lead(passage, admitted);
}

/**
 * No route takes what could only be passed on as something else.
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND
 */
function assertPlainMessage({ httpVersionMajor, headers }: IncomingMessage): void {
  if (httpVersionMajor !== 1) {
    throw new CambistError('ERR_ROUTE_NOT_FOUND', 'the request is of an HTTP version before 1.0');
  }
  const coding = headers['transfer-encoding'];
  // Node undoes the chunks alone, and what else was done to the body would go unsaid (RFC 9112 section 6.1).
  if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
    throw new CambistError('ERR_ROUTE_NOT_FOUND', 'the request has a transfer coding that is not chunked');
  }
}

/**
 * Answers a request for a resource's metadata, or finds where an upstream's own lies. Undefined where the operator wrote
 * a route for it, or where there is no such resource.
 * @throws {CambistError} ERR_ROUTE_NOT_FOUND
 */
function describe(
  passage: Passage,
  target: RequestTarget,
  resource: RequestTarget,
  { table, config }: Serving,
  traffic: Traffic,
): Found | 'answered' | undefined {
  if (isMetadataRoute(table.candidates(target)[0])) return undefined;
  const routes = table.candidates(resource);
  const own = routes.find(describesItself);
  if (routes.length === 0) return undefined;
  const { request, url, credentialHeaders } = passage;
  const readable = request.method === 'GET' || request.method === 'HEAD';
  if (own === undefined) {
    if (!readable) return undefined;
    // Whom a GET of the resource would lead to: what routes ask for, and other spellings of a path, are the same here.
    const route = table.match(resource, { method: 'GET', message: undefined });
    if (route === undefined) throw noRoute(resource, table);
    return { route, path: upstreamMetadataPath(route, resource), body: undefined };
  }

  traffic.routed(passage, own);
  traffic.assertOpen(config.limits.maxInFlight);
  const body = readable
    ? resourceMetadata(routes, resource.path ?? '/', { url, rawHeaders: request.rawHeaders, credentialHeaders })
    : undefined;
  if (body === undefined) {
    throw new CambistError(
      'ERR_ROUTE_NOT_FOUND',
      `route "${own.name}" has no metadata to show: it needs a GET, a Host, and an authorization server with an issuer`,
    );
  }
  const headers = { 'content-type': 'application/json', 'cache-control': 'no-store', 'x-request-id': passage.id };
  traffic.answer(passage, { status: 200, headers, body });
  return 'answered';
}
