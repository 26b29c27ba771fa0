import type { Route } from '../config/config.ts';
import type { KnownFacts, RequestFacts } from './request-facts.ts';

/** The routes of one host and one path that want more of a request than these two. */
export interface ConditionalRoutes {
  add(route: Route): void;
  readonly routes: readonly Route[];
  /** Largest body that is read to tell them apart, in bytes; undefined where these facts tell them apart already. */
  bodyNeeded(facts: RequestFacts): number | undefined;
  /** The most exact one that fits: by MCP name first, then by MCP method, then by HTTP method. */
  find(facts: KnownFacts): Route | undefined;
}

/** Entries under whole names, under beginnings of names, and one for whatever is left. */
interface Ranked<T> {
  readonly exact: Map<string, T>;
  readonly prefixes: Map<string, T>;
  /** Lengths of `prefixes`, longest first. */
  lengths: number[];
  rest: T | undefined;
}

type ByHttpMethod = Ranked<Route>;
type ByMcpMethod = Ranked<ByHttpMethod>;

/** MCP sends its messages with this method alone. */
const MESSAGE_METHOD = 'POST';

export function createConditionalRoutes(): ConditionalRoutes {
  const byName = ranked<ByMcpMethod>();
  const routes: Route[] = [];
  let bodyLimitBytes: number | undefined;

  return {
    routes,
    add(route) {
      const { methods, mcpMethods, mcpNames } = route.match.conditions ?? {};
      routes.push(route);
      if (mcpMethods !== undefined || mcpNames !== undefined) {
        bodyLimitBytes = Math.max(bodyLimitBytes ?? 0, route.retryBodyLimitBytes);
      }
      for (const name of mcpNames ?? [undefined]) {
        const byMcpMethod = entry(byName, name, () => ranked<ByHttpMethod>());
        for (const mcpMethod of mcpMethods ?? [undefined]) {
          const byHttpMethod = entry(byMcpMethod, mcpMethod, () => ranked<Route>());
          for (const method of methods ?? [undefined]) entry(byHttpMethod, method, () => route);
        }
      }
    },
    bodyNeeded: ({ method, message }) =>
      message === 'unread' && method === MESSAGE_METHOD ? bodyLimitBytes : undefined,
    find: ({ method, message }) =>
      search(byName, message?.name, (byMcpMethod) =>
        search(byMcpMethod, message?.method, (byHttpMethod) => search(byHttpMethod, method, (route) => route)),
      ),
  };
}

function ranked<T>(): Ranked<T> {
  return { exact: new Map(), prefixes: new Map(), lengths: [], rest: undefined };
}

/** What stands under a pattern, made where nothing does yet. */
function entry<T>(table: Ranked<T>, pattern: string | undefined, make: () => T): T {
  if (pattern === undefined) {
    table.rest ??= make();
    return table.rest;
  }
  const isPrefix = pattern.endsWith('*');
  const key = isPrefix ? pattern.slice(0, -1) : pattern;
  const entries = isPrefix ? table.prefixes : table.exact;
  let known = entries.get(key);
  if (known === undefined) {
    known = make();
    entries.set(key, known);
    if (isPrefix) table.lengths = [...new Set([...table.lengths, key.length])].sort((a, b) => b - a);
  }
  return known;
}

/** Asks the entries that a value falls under, the most exact first, until one has an answer. */
function search<T>(
  table: Ranked<T>,
  value: string | undefined,
  ask: (found: T) => Route | undefined,
): Route | undefined {
  if (value !== undefined) {
    const exact = table.exact.get(value);
    const answer = exact === undefined ? undefined : ask(exact);
    if (answer !== undefined) return answer;
    for (const length of table.lengths) {
      const found = value.length < length ? undefined : table.prefixes.get(value.slice(0, length));
      const ofPrefix = found === undefined ? undefined : ask(found);
      if (ofPrefix !== undefined) return ofPrefix;
    }
  }
  return table.rest === undefined ? undefined : ask(table.rest);
}
