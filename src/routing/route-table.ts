import type { Route } from '../config/config.ts';
import { type ConditionalRoutes, createConditionalRoutes } from './conditions.ts';
import { type KnownFacts, NO_MESSAGE, type RequestFacts } from './request-facts.ts';
import type { RequestTarget } from './request-target.ts';

/** The route depends on the message in the body, which has to be read first. */
export interface Unread {
  /** The largest body that is worth it. */
  readonly bodyLimitBytes: number;
}

/** Finds the route of a request, at a cost that does not grow with the number of routes. */
export interface RouteTable {
  /**
   * Undefined: no route, and the request is refused, as is one whose path has a plainer spelling with other candidates.
   * Without facts: a POST that bears no message.
   */
  match(target: RequestTarget, facts?: KnownFacts): Route | undefined;
  match(target: RequestTarget, facts: RequestFacts): Route | Unread | undefined;
  /** Every route that a request with this host and path could take as they are written, whatever else it has; the most exact first. */
  candidates(target: RequestTarget): readonly Route[];
  /** Does some route name this host, by itself or by a wildcard? */
  namesHost(host: string): boolean;
}

/**
 * Builds the table. Precedence: exact host, then the longest wildcard, then no host; within that the longest path; within
 * that what `conditions.ts` says. A host or path whose conditions no route meets leaves the request to the next.
 */
export function createRouteTable(routes: readonly Route[]): RouteTable {
  const exact = new Map<string, PathTable>();
  const wildcard = new Map<string, PathTable>();
  const anyHost = createPathTable();
  for (const route of routes) {
    const { host, path } = route.match;
    if (host === undefined) anyHost.add(path, route);
    else if (host.startsWith('*.')) tableFor(wildcard, host.slice(1)).add(path, route);
    else tableFor(exact, host).add(path, route);
  }

  function find<Asked, Found>({ host, path }: RequestTarget, ask: Ask<Asked, Found>, asked: Asked): Found | undefined {
    if (path === undefined) return undefined;
    if (host !== undefined) {
      const found = exact.get(host)?.find(path, ask, asked) ?? findWildcard(wildcard, host, path, ask, asked);
      if (found !== undefined) return found;
    }
    return anyHost.find(path, ask, asked);
  }

  function match(target: RequestTarget, facts?: KnownFacts): Route | undefined;
  function match(target: RequestTarget, facts: RequestFacts): Route | Unread | undefined;
  function match(target: RequestTarget, facts: RequestFacts = NO_MESSAGE): Route | Unread | undefined {
    if (target.plainPath !== undefined && leadsElsewhere(target, target.plainPath)) return undefined;
    return find(target, choose, facts);
  }

  function candidates(target: RequestTarget): Route[] {
    const found: Route[] = [];
    find(target, collect, found);
    return found;
  }

  /**
   * Two spellings of a path may be one to the backend. Where the plain one has routes of its own, the other must not go
   * round them, and round what they ask for.
   */
  function leadsElsewhere(target: RequestTarget, plainPath: string): boolean {
    const written = candidates(target);
    const plain = candidates({ ...target, path: plainPath });
    return plain.length !== written.length || plain.some((route, index) => route !== written[index]);
  }

  return {
    match,
    candidates,
    namesHost: (host) => exact.has(host) || suffixes(host).some((suffix) => wildcard.has(suffix)),
  };
}

/** The routes of one host and one path. */
interface Spot {
  /** The one without conditions. */
  plain: Route | undefined;
  conditional: ConditionalRoutes | undefined;
}

/** A question to one spot after the other; undefined leaves it to the next. */
type Ask<Asked, Found> = (spot: Spot, asked: Asked) => Found | undefined;

function choose({ plain, conditional }: Spot, facts: RequestFacts): Route | Unread | undefined {
  if (conditional === undefined) return plain;
  const bodyLimitBytes = conditional.bodyNeeded(facts);
  if (bodyLimitBytes !== undefined) return { bodyLimitBytes };
  const { method, message } = facts;
  return conditional.find({ method, message: message === 'unread' ? undefined : message }) ?? plain;
}

function collect({ plain, conditional }: Spot, found: Route[]): true | undefined {
  found.push(...(conditional?.routes ?? []));
  if (plain === undefined) return undefined;
  found.push(plain);
  return true;
}

/** `.tools.svc`, `.svc` of `github.tools.svc`: longest first, so that `*.tools.svc` goes before `*.svc`. */
function suffixes(host: string): string[] {
  const found: string[] = [];
  for (let dot = host.indexOf('.', 1); dot !== -1; dot = host.indexOf('.', dot + 1)) found.push(host.slice(dot));
  return found;
}

function findWildcard<Asked, Found>(
  tables: ReadonlyMap<string, PathTable>,
  host: string,
  path: string,
  ask: Ask<Asked, Found>,
  asked: Asked,
): Found | undefined {
  if (tables.size === 0) return undefined;
  for (const suffix of suffixes(host)) {
    const found = tables.get(suffix)?.find(path, ask, asked);
    if (found !== undefined) return found;
  }
  return undefined;
}

interface PathTable {
  add(prefix: string, route: Route): void;
  /** Asks the spots of this path, the longest prefix first, in whole segments. */
  find<Asked, Found>(path: string, ask: Ask<Asked, Found>, asked: Asked): Found | undefined;
}

function createPathTable(): PathTable {
  const spots = new Map<string, Spot>();
  /** Of the longest prefix: a path of a thousand segments is looked up no more often than this. */
  let longest = 0;
  return {
    add(prefix, route) {
      const key = prefix === '/' ? '' : prefix;
      let spot = spots.get(key);
      if (spot === undefined) {
        spot = { plain: undefined, conditional: undefined };
        spots.set(key, spot);
      }
      if (route.match.conditions === undefined) spot.plain = route;
      else {
        spot.conditional ??= createConditionalRoutes();
        spot.conditional.add(route);
      }
      longest = Math.max(longest, key.length);
    },
    find(path, ask, asked) {
      if (spots.size === 0) return undefined;
      let end = path.length <= longest ? path.length : path.lastIndexOf('/', longest);
      while (end >= 0) {
        const spot = spots.get(path.slice(0, end));
        const found = spot === undefined ? undefined : ask(spot, asked);
        if (found !== undefined) return found;
        end = end === 0 ? -1 : path.lastIndexOf('/', end - 1);
      }
      return undefined;
    },
  };
}

function tableFor(tables: Map<string, PathTable>, key: string): PathTable {
  let table = tables.get(key);
  if (table === undefined) {
    table = createPathTable();
    tables.set(key, table);
  }
  return table;
}
