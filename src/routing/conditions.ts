import { readsMessage } from '../config/match.ts';
import type { Route } from '../config/route.ts';
import { addedStateBytes } from './request-state.ts';

export interface McpMessage {
  /** A response to the server has no method. */
  readonly method: string | undefined;
  /** The tool, prompt, resource or task that the message names, if any. */
  readonly name: string | undefined;
}

export interface RequestFacts {
  /** The method is as received, because HTTP methods are case-sensitive. */
  readonly method: string;
  /** A request may have no message. It is `unread` if the body, which may have one, was not read yet. */
  readonly message: McpMessage | undefined | 'unread';
}

/** The facts of a request whose body was read if a route depends on it. */
export interface KnownFacts extends RequestFacts {
  readonly message: McpMessage | undefined;
}

export const NO_MESSAGE: KnownFacts = { method: 'POST', message: undefined };

/** Entries by exact name, by prefix, and one for all other names. */
interface Ranked<T> {
  readonly exact: Map<string, T>;
  readonly prefixes: Map<string, T>;
  /** Lengths of `prefixes`, longest first. */
  lengths: number[];
  rest: T | undefined;
}

type ByHttpMethod = Ranked<Route>;
type ByMcpMethod = Ranked<ByHttpMethod>;

/** The only method of requests that carry MCP messages. */
const MESSAGE_METHOD = 'POST';

/** The routes with conditions of one host and one path. */
export type ConditionalRoutes = ReturnType<typeof createConditionalRoutes>;

export function createConditionalRoutes() {
  const byName = ranked<ByMcpMethod>();
  const routes: Route[] = [];
  let bodyLimitBytes: number | undefined;

  return {
    routes,
    add(route: Route): void {
      const { methods, mcpMethods, mcpNames } = route.match.conditions ?? {};
      routes.push(route);
      if (readsMessage(route.match)) {
        bodyLimitBytes = Math.max(bodyLimitBytes ?? 0, route.retryBodyLimitBytes + addedStateBytes(route));
      }
      for (const name of mcpNames ?? [undefined]) {
        const byMcpMethod = entry(byName, name, () => ranked<ByHttpMethod>());
        for (const mcpMethod of mcpMethods ?? [undefined]) {
          const byHttpMethod = entry(byMcpMethod, mcpMethod, () => ranked<Route>());
          for (const method of methods ?? [undefined]) entry(byHttpMethod, method, () => route);
        }
      }
    },
    /** Size in bytes of the largest body to read before a route can be chosen. Undefined if these facts suffice. */
    bodyNeeded: ({ method, message }: RequestFacts): number | undefined =>
      message === 'unread' && method === MESSAGE_METHOD ? bodyLimitBytes : undefined,
    /** Finds the most specific route that matches: by MCP name first, then by MCP method, then by HTTP method. */
    find: ({ method, message }: KnownFacts): Route | undefined =>
      search(byName, message?.name, (byMcpMethod) =>
        search(byMcpMethod, message?.method, (byHttpMethod) => search(byHttpMethod, method, (route) => route)),
      ),
  };
}

function ranked<T>(): Ranked<T> {
  return { exact: new Map(), prefixes: new Map(), lengths: [], rest: undefined };
}

function entry<T>(table: Ranked<T>, pattern: string | undefined, create: () => T): T {
  if (pattern === undefined) {
    table.rest ??= create();
    return table.rest;
  }
  const isPrefix = pattern.endsWith('*');
  const key = isPrefix ? pattern.slice(0, -1) : pattern;
  const entries = isPrefix ? table.prefixes : table.exact;
  let known = entries.get(key);
  if (known === undefined) {
    known = create();
    entries.set(key, known);
    if (isPrefix) table.lengths = [...new Set([...table.lengths, key.length])].sort((a, b) => b - a);
  }
  return known;
}

/** Tries the entries that match a value, the most specific first, until one of them has a route. */
function search<T>(
  table: Ranked<T>,
  value: string | undefined,
  findIn: (entry: T) => Route | undefined,
): Route | undefined {
  if (value !== undefined) {
    const exact = table.exact.get(value);
    const route = exact === undefined ? undefined : findIn(exact);
    if (route !== undefined) return route;
    for (const length of table.lengths) {
      const prefixed = value.length < length ? undefined : table.prefixes.get(value.slice(0, length));
      const found = prefixed === undefined ? undefined : findIn(prefixed);
      if (found !== undefined) return found;
    }
  }
  return table.rest === undefined ? undefined : findIn(table.rest);
}
