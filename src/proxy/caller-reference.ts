import type { Route } from '../config/route.ts';

/** Longer than any URL that servers accept. */
const MAX_REFERENCE_LENGTH = 8192;

/** A host that no reference names, to detect references without a host. */
const CALLER = 'http://caller.invalid';

/** The path of a request on both sides of the proxy. */
export interface RequestPaths {
  readonly route: Route;
  /** Path and query that the upstream received. */
  readonly upstreamPath: string;
  /** Path and query that the caller sent. */
  readonly callerPath: string;
}

/**
 * Rewrites a reference of an upstream so that it leads the caller back through the same route. Undefined where the reference
 * needs no change: it leads to another server, or through the route already.
 * @see RFC 3986 section 5
 */
export function callerReference(
  reference: string,
  { route, upstreamPath, callerPath }: RequestPaths,
): string | undefined {
  const { origin, path } = route.upstream;
  const to = parse(reference, origin + upstreamPath);
  if (to?.origin !== origin || to.username !== '' || to.password !== '') return undefined;
  const base = new URL(origin + path).pathname.replace(/\/$/, '');
  if (to.pathname !== base && !to.pathname.startsWith(`${base}/`)) return undefined;
  const prefix = route.match.path === '/' ? '' : route.match.path;
  const back = (prefix + to.pathname.slice(base.length) || '/') + to.search + to.hash;
  // Two slashes would begin a host.
  if (back.startsWith('//')) return undefined;
  const followed = parse(reference, CALLER + callerPath);
  const isSame = followed?.origin === CALLER && followed.pathname + followed.search + followed.hash === back;
  return isSame ? undefined : back;
}

function parse(reference: string, base: string): URL | undefined {
  if (reference.length > MAX_REFERENCE_LENGTH || !URL.canParse(reference, base)) return undefined;
  return new URL(reference, base);
}
