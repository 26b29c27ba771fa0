import type { Route } from '../config/route.ts';
import { needsCaller } from '../config/route.ts';
import { CambistError } from '../errors.ts';
import { isForeignName } from '../host-names.ts';
import { addressedAuthority, readHost } from '../routing/request-target.ts';
import type { Subject } from '../tokens/subject.ts';
import { headerValues, type RawHeaders } from './headers.ts';
import type { Routed } from './steps.ts';

/**
 * Refuses a request without a caller's token that a web page made a browser send. On a route that requires no such token,
 * nothing else tells the agent from a page.
 * - A page of another site can send simple requests here. Browsers mark them with `Sec-Fetch-Site`, or at least `Origin`.
 * - A page can point its own host name at our address (DNS rebinding), and is then same-origin. `Host` still has that name. In the
 *   local network it can also be an internal one, such as `x.local` or `x`.
 * @param subject the caller's token, where the route exchanges one and the caller sent it
 * @throws {CambistError} ERR_CROSS_SITE_REQUEST
 * @see https://pkg.go.dev/net/http#CrossOriginProtection, which uses the same headers
 */
export function assertSameSite({ request, route, unattended }: Routed, subject: Subject | undefined): void {
  const raw = request.incoming.rawHeaders;
  if ((unattended === undefined && needsCaller(route)) || hasCallerToken(route, subject, raw)) return;
  const authority = addressedAuthority(request.url, headerValues(raw, 'host'));
  const host = readHost(authority);
  // The Host of a decision is a name of the data plane.
  const isDecision = request.arrival?.wayIn === 'decision';
  if (!isDecision && host !== undefined && isForeignName(host) && !request.active.table.namesHost(host)) {
    throw crossSite(
      route,
      'its Host is a name that no match.host has: use 127.0.0.1 or localhost, or add the name to match.host of the route',
    );
  }
  const origins = headerValues(raw, 'origin');
  if (origins.length === 1 && route.allowedOrigins.includes(origins[0] as string)) return;
  const sites = headerValues(raw, 'sec-fetch-site');
  const isOwn =
    sites.length > 0
      ? sites.every((site) => site === 'same-origin' || site === 'none')
      : origins.every((origin) => !isDecision && isOriginOf(origin, authority));
  if (!isOwn) {
    throw crossSite(route, 'a web page of another origin sent it: add the origin to allowed_origins of the route');
  }
}

function hasCallerToken({ credential, subjectToken }: Route, subject: Subject | undefined, raw: RawHeaders): boolean {
  if (credential.kind === 'exchange') return subject !== undefined && subjectToken.own === undefined;
  if (credential.kind !== 'passthrough') return false;
  return headerValues(raw, subjectToken.header).some((value) => value.trim() !== '');
}

function isOriginOf(origin: string, authority: string | undefined): boolean {
  return origin.replace(/^[a-z][a-z0-9+.-]*:\/\//, '') === authority?.toLowerCase();
}

function crossSite({ name }: Route, why: string): CambistError {
  return new CambistError(
    'ERR_CROSS_SITE_REQUEST',
    `route "${name}" needs no caller's token for the request, and refused it because ${why}`,
  );
}
