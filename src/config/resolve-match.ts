import type { Conditions, Match } from './config.ts';
import { type ConfigNode, valueOrReport } from './config-node.ts';
import { readHostPattern, readPathPrefix } from './matching.ts';
import type { Loose } from './schema.ts';
import type { MatchFile } from './schema-route.ts';

/** What requests a route takes, as it is written → as it is used. Undefined: something is wrong, and `node` knows. */
export function resolveMatch(written: Loose<MatchFile>, node: ConfigNode): Match | undefined {
  if (written.host === undefined && written.path === undefined) {
    if (!node.broken) node.error('must have a host or a path: write path: / for all requests');
    return undefined;
  }
  const host = written.host === undefined ? undefined : valueOrReport(readHostPattern(written.host), node.at('host'));
  const path = valueOrReport(readPathPrefix(written.path ?? '/'), node.at('path'));
  if (path?.includes('*')) {
    node.at('path').warn('takes "*" to the letter: a path is a prefix, so leave "*" out if it stands for what follows');
  }
  const conditions = resolveConditions(written, node);
  return node.broken || path === undefined ? undefined : { host, path, conditions };
}

function resolveConditions(written: Loose<MatchFile>, node: ConfigNode): Conditions | undefined {
  const methods = distinct(written.methods);
  const mcpMethods = distinct(written.mcp_method);
  const mcpNames = distinct(written.mcp_name);
  const wantsMessage = mcpMethods !== undefined || mcpNames !== undefined;
  if (wantsMessage && methods !== undefined && !methods.includes('POST') && !node.at('methods').broken) {
    node.at('methods').error('leaves out POST, and no other request bears a message: add it, or remove the key');
  }
  return wantsMessage || methods !== undefined ? { methods, mcpMethods, mcpNames } : undefined;
}

function distinct(written: string | (string | undefined)[] | undefined): readonly string[] | undefined {
  if (written === undefined) return undefined;
  const list = typeof written === 'string' ? [written] : written.filter((entry) => entry !== undefined);
  return [...new Set(list)];
}

/**
 * All that a route takes, piece by piece: two routes that have a piece in common would both be right for one request, and
 * none would be more exact. Of two different pieces that a request fits, one always is.
 */
export function* piecesOf({ host, path, conditions }: Match): Generator<string> {
  for (const name of conditions?.mcpNames ?? [null]) {
    for (const mcpMethod of conditions?.mcpMethods ?? [null]) {
      for (const method of conditions?.methods ?? [null]) {
        yield JSON.stringify([host ?? null, path, name, mcpMethod, method]);
      }
    }
  }
}
