import type { Route } from '../config/config.ts';

/** Longer than any URL that servers take. */
const MAX_REFERENCE_LENGTH = 8192;

/** A host that no reference names, to see which ones name none. */
const CALLER = 'http://caller.invalid';

/** Where a request went, seen from both sides. */
export interface Ways {
  readonly route: Route;
  /** Path and query as the upstream got them. */
  readonly upstreamPath: string;
  /** Path and query as the caller asked for them. */
  readonly callerPath: string;
}

/**
 * A reference that an upstream gave, as its caller has to follow it to come back through the same route: the matched
 * prefix in place of the upstream's path. Undefined where it stays as it is: it leads elsewhere, or where it should by itself.
 * @see RFC 3986 section 5
 */
export function callerReference(reference: string, { route, upstreamPath, callerPath }: Ways): string | undefined {
  const { origin, path } = route.upstream;
  const to = parse(reference, origin + upstreamPath);
  if (to?.origin !== origin || to.username !== '' || to.password !== '') return undefined;
  const base = new URL(origin + path).pathname.replace(/\/$/, '');
  if (to.pathname !== base && !to.pathname.startsWith(`${base}/`)) return undefined;
  const prefix = route.match.path === '/' ? '' : route.match.path;
  const back = (prefix + to.pathname.slice(base.length) || '/') + to.search + to.hash;
  // Two slashes would be read as the beginning of a host.
  if (back.startsWith('//')) return undefined;
  const followed = parse(reference, CALLER + callerPath);
  const isSame = followed?.origin === CALLER && followed.pathname + followed.search + followed.hash === back;
  return isSame ? undefined : back;
}

function parse(reference: string, base: string): URL | undefined {
  if (reference.length > MAX_REFERENCE_LENGTH || !URL.canParse(reference, base)) return undefined;
  return new URL(reference, base);
}
