import type { Route } from '../config/config.ts';
import type { RequestTarget } from './request-target.ts';

/** Finds the route of a request, at a cost that does not grow with the number of routes. */
export interface RouteTable {
  /** Undefined: no route, and the request is refused. */
  match(target: RequestTarget): Route | undefined;
}

/**
 * Builds the table. Precedence: exact host, then the longest wildcard, then no host; within that the longest path.
 * A further key of `match` becomes a further level here, below the path.
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

  return {
    match({ host, path }) {
      if (path === undefined) return undefined;
      if (host !== undefined) {
        const found = exact.get(host)?.find(path) ?? matchWildcard(wildcard, host, path);
        if (found !== undefined) return found;
      }
      return anyHost.find(path);
    },
  };
}

/** Longest suffix first, so that `*.tools.svc` goes before `*.svc`. */
function matchWildcard(tables: ReadonlyMap<string, PathTable>, host: string, path: string): Route | undefined {
  if (tables.size === 0) return undefined;
  for (let dot = host.indexOf('.', 1); dot !== -1; dot = host.indexOf('.', dot + 1)) {
    const found = tables.get(host.slice(dot))?.find(path);
    if (found !== undefined) return found;
  }
  return undefined;
}

interface PathTable {
  add(prefix: string, route: Route): void;
  /** The route with the longest prefix of this path, in whole segments. */
  find(path: string): Route | undefined;
}

function createPathTable(): PathTable {
  const routes = new Map<string, Route>();
  /** Of the longest prefix: a path of a thousand segments is looked up no more often than this. */
  let longest = 0;
  return {
    add(prefix, route) {
      const key = prefix === '/' ? '' : prefix;
      routes.set(key, route);
      longest = Math.max(longest, key.length);
    },
    find(path) {
      if (routes.size === 0) return undefined;
      let end = path.length <= longest ? path.length : path.lastIndexOf('/', longest);
      while (end >= 0) {
        const route = routes.get(path.slice(0, end));
        if (route !== undefined) return route;
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
