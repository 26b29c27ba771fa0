import { type ConfigNode, valueOrReport } from './config-node.ts';
import type { Loose } from './loose.ts';
import { readHostPattern, readPathPrefix } from './matching.ts';
import type { Conditions, Match } from './route.ts';
import type { MatchFile } from './schema-route.ts';
import { toList, type Written } from './targets.ts';

/** Reads `match` of a route. Undefined after an error, which is reported to `node`. */
export function resolveMatch(written: Loose<MatchFile>, node: ConfigNode): Match | undefined {
  if (written.host === undefined && written.path === undefined) {
    if (!node.broken) node.error('needs a host or a path: write path: / to match all requests');
    return undefined;
  }
  const host = written.host === undefined ? undefined : valueOrReport(readHostPattern(written.host), node.at('host'));
  const path = valueOrReport(readPathPrefix(written.path ?? '/'), node.at('path'));
  if (path?.includes('*')) {
    node
      .at('path')
      .warn(
        'contains "*", which is not a wildcard here: a path is a prefix, so remove "*" to match everything below it',
      );
  }
  const conditions = resolveConditions(written, node);
  return node.broken || path === undefined ? undefined : { host, path, conditions };
}

function resolveConditions(written: Loose<MatchFile>, node: ConfigNode): Conditions | undefined {
  const [methods, mcpMethods, mcpNames] = [written.methods, written.mcp_method, written.mcp_name].map(distinct);
  const readsMessage = mcpMethods !== undefined || mcpNames !== undefined;
  if (readsMessage && methods !== undefined && !methods.includes('POST') && !node.at('methods').broken) {
    node.at('methods').error('lacks POST, the only method with a message: add POST, or remove the key');
  }
  return readsMessage || methods !== undefined ? { methods, mcpMethods, mcpNames } : undefined;
}

function distinct(written: Written): readonly string[] | undefined {
  return written === undefined ? undefined : [...new Set(toList(written))];
}

/**
 * Lists the combinations of host, path and conditions that a route matches. Two routes with a common combination would tie for
 * a request. Of two different combinations that match a request, one is always more specific.
 */
export function* combinationsOf({ host, path, conditions }: Match): Generator<string> {
  for (const name of conditions?.mcpNames ?? [null]) {
    for (const mcpMethod of conditions?.mcpMethods ?? [null]) {
      for (const method of conditions?.methods ?? [null]) {
        yield JSON.stringify([host ?? null, path, name, mcpMethod, method]);
      }
    }
  }
}
