import type { Route } from '../config/route.ts';
import {
  type ConditionalRoutes,
  createConditionalRoutes,
  type KnownFacts,
  NO_MESSAGE,
  type RequestFacts,
} from './conditions.ts';
import { plainName } from './mcp-message.ts';
import type { RequestTarget } from './request-target.ts';

interface BodyNeeded {
  /** Size of the largest body to read. */
  readonly bodyLimitBytes: number;
}

/** Finds the route of a request, at a cost that does not grow with the number of routes. */
export type RouteTable = ReturnType<typeof createRouteTable>;

/**
 * Builds the table. An exact host wins over the longest wildcard, and any host over none. For the same host, the longest path
 * wins; for the same path, `conditions.ts` decides. If no conditions of a host and path match, the search continues with the next.
 */
export function createRouteTable(routes: readonly Route[]) {
  const { at, find, namesHost } = createPlaces((): PathEntry => ({ unconditional: undefined, conditional: undefined }));
  for (const route of routes) {
    const { host, path, conditions } = route.match;
    const entry = at(host, path);
    if (conditions === undefined) {
      entry.unconditional = route;
    } else {
      entry.conditional ??= createConditionalRoutes();
      entry.conditional.add(route);
    }
  }

  /**
   * Returns undefined if no route matches, and if the plain spelling of the path has other candidates. The request is refused
   * in both cases.
   * @param facts by default those of a POST without a message
   */
  function match(target: RequestTarget, facts?: KnownFacts): Route | undefined;
  function match(target: RequestTarget, facts: RequestFacts): Route | BodyNeeded | undefined;
  function match(target: RequestTarget, facts: RequestFacts = NO_MESSAGE): Route | BodyNeeded | undefined {
    if (target.plainPath !== undefined && leadsElsewhere(target, target.plainPath)) return undefined;
    const found = find(target, choose, facts);
    if (facts.message === undefined || facts.message === 'unread') return found;
    const { method, message } = facts;
    return isAmbiguous(target, { method, message }, found) ? undefined : found;
  }

  /** Every route that a request with this host and path could take, depending on its other facts. The most specific comes first. */
  function candidates(target: RequestTarget): Route[] {
    const found: Route[] = [];
    find(target, collect, found);
    return found;
  }

  /**
   * A backend may read two spellings of a path as the same. If the plain spelling has routes of its own, another spelling must
   * not bypass them and their conditions.
   */
  function leadsElsewhere(target: RequestTarget, plainPath: string): boolean {
    const written = candidates(target);
    const plain = candidates({ ...target, path: plainPath });
    return plain.length !== written.length || plain.some((route, index) => route !== written[index]);
  }

  /** Would a backend that normalizes names find another route's name in the message? A name that the route lists is unambiguous. */
  function isAmbiguous(
    target: RequestTarget,
    { method, message }: KnownFacts,
    found: Route | BodyNeeded | undefined,
  ): boolean {
    if (message?.name === undefined) return false;
    const { name } = message;
    const plain = plainName(name);
    if (plain === name) return false;
    if (found !== undefined && 'match' in found && found.match.conditions?.mcpNames?.includes(name)) return false;
    return plain === undefined || find(target, choose, { method, message: { ...message, name: plain } }) !== found;
  }

  return {
    match,
    candidates,
    namesHost,
    /** The team whose region has a request, as some server may read it. Undefined: none. */
    ownerOf: (_target: RequestTarget): string | undefined => undefined,
  };
}

interface PathEntry {
  unconditional: Route | undefined;
  conditional: ConditionalRoutes | undefined;
}

/** Called for one entry after the other, until it returns a value. */
type Visit<Entry, Query, Found> = (entry: Entry, query: Query) => Found | undefined;

function choose({ unconditional, conditional }: PathEntry, facts: RequestFacts): Route | BodyNeeded | undefined {
  if (conditional === undefined) return unconditional;
  const bodyLimitBytes = conditional.bodyNeeded(facts);
  if (bodyLimitBytes !== undefined) return { bodyLimitBytes };
  const { method, message } = facts;
  return conditional.find({ method, message: message === 'unread' ? undefined : message }) ?? unconditional;
}

function collect({ unconditional, conditional }: PathEntry, found: Route[]): true | undefined {
  found.push(...(conditional?.routes ?? []));
  if (unconditional === undefined) return undefined;
  found.push(unconditional);
  return true;
}

/** Entries by host and path. */
export function createPlaces<Entry>(create: () => Entry) {
  const exact = new Map<string, PathTable<Entry>>();
  const wildcard = new Map<string, PathTable<Entry>>();
  const anyHost = createPathTable(create);

  function tableFor(host: string | undefined): PathTable<Entry> {
    if (host === undefined) return anyHost;
    const [tables, key] = host.startsWith('*.') ? [wildcard, host.slice(1)] : [exact, host];
    const table = tables.get(key) ?? createPathTable(create);
    tables.set(key, table);
    return table;
  }

  return {
    at: (host: string | undefined, path: string): Entry => tableFor(host).at(path),
    /** Visits the entries that a target matches: an exact host first, then the longest wildcard, then no host. */
    find<Query, Found>({ host, path }: RequestTarget, visit: Visit<Entry, Query, Found>, query: Query) {
      if (path === undefined) return undefined;
      if (host !== undefined) {
        const found = exact.get(host)?.find(path, visit, query) ?? findWildcard(wildcard, host, path, visit, query);
        if (found !== undefined) return found;
      }
      return anyHost.find(path, visit, query);
    },
    /** Does an entry name this host, exactly or by a wildcard? */
    namesHost: (host: string): boolean => exact.has(host) || suffixes(host).some((suffix) => wildcard.has(suffix)),
  };
}

/** `.tools.svc` and `.svc` for `github.tools.svc`. The longest comes first, so that `*.tools.svc` wins over `*.svc`. */
function suffixes(host: string): string[] {
  const found: string[] = [];
  for (let dot = host.indexOf('.', 1); dot !== -1; dot = host.indexOf('.', dot + 1)) found.push(host.slice(dot));
  return found;
}

function findWildcard<Entry, Query, Found>(
  tables: ReadonlyMap<string, PathTable<Entry>>,
  host: string,
  path: string,
  visit: Visit<Entry, Query, Found>,
  query: Query,
): Found | undefined {
  if (tables.size === 0) return undefined;
  for (const suffix of suffixes(host)) {
    const found = tables.get(suffix)?.find(path, visit, query);
    if (found !== undefined) return found;
  }
  return undefined;
}

type PathTable<Entry> = ReturnType<typeof createPathTable<Entry>>;

function createPathTable<Entry>(create: () => Entry) {
  const entries = new Map<string, Entry>();
  /** Length of the longest prefix. It bounds the number of lookups for a path of a thousand segments. */
  let longest = 0;
  return {
    at(prefix: string): Entry {
      const key = prefix === '/' ? '' : prefix;
      const entry = entries.get(key) ?? create();
      entries.set(key, entry);
      longest = Math.max(longest, key.length);
      return entry;
    },
    /** Visits the entries whose prefix matches the path in whole segments, the longest first. */
    find<Query, Found>(path: string, visit: Visit<Entry, Query, Found>, query: Query): Found | undefined {
      if (entries.size === 0) return undefined;
      let end = path.length <= longest ? path.length : path.lastIndexOf('/', longest);
      while (end >= 0) {
        const entry = entries.get(path.slice(0, end));
        const found = entry === undefined ? undefined : visit(entry, query);
        if (found !== undefined) return found;
        end = end === 0 ? -1 : path.lastIndexOf('/', end - 1);
      }
      return undefined;
    },
  };
}
