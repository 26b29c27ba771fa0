import type { ConfigNode } from './config-node.ts';
import { ABSOLUTE_URI } from './units.ts';

export type Written = string | readonly (string | undefined)[] | undefined;

/** One or many values as a list. Entries with errors have been removed. */
export function toList(written: Written): string[] | undefined {
  if (written === undefined) return undefined;
  return typeof written === 'string' ? [written] : written.filter((entry) => entry !== undefined);
}

/** Reads `resource`: absolute URIs without a fragment (RFC 8707 section 2), kept as written. */
export function readResource(written: Written, node: ConfigNode): readonly string[] | undefined {
  for (const [index, entry] of (typeof written === 'string' ? [written] : (written ?? [])).entries()) {
    const at = typeof written === 'string' ? node : node.at(index);
    if (entry === undefined || ABSOLUTE_URI.test(entry)) continue;
    at.error(
      entry.includes('#')
        ? 'must not contain a fragment: remove "#" and everything after it'
        : 'must be an absolute URI, as in https://backend.example.com/mcp; a logical name belongs in "audience"',
    );
  }
  return toList(written);
}

/** RFC 6749 section 3.3. */
const SCOPE_TOKEN = /^[!#-[\]-~]+$/;

/** Reads scopes, joined by single spaces. `''` for none. */
export function readScope(written: string | undefined, node: ConfigNode): string | undefined {
  const tokens = written?.split(/[ \t\r\n]+/).filter((token) => token !== '');
  if (tokens?.some((token) => !SCOPE_TOKEN.test(token))) {
    node.error(
      'contains a character that is not allowed in a scope: use printable ASCII without quotes and backslashes',
    );
  }
  return tokens?.join(' ');
}

/** Reads a list of single scopes. */
export function readScopes(
  written: readonly (string | undefined)[] | undefined,
  node: ConfigNode,
): readonly string[] | undefined {
  for (const [index, scope] of (written ?? []).entries()) {
    if (scope !== undefined && !SCOPE_TOKEN.test(scope)) {
      node.at(index).error('must be one scope: printable ASCII without spaces, quotes and backslashes');
    }
  }
  return written === undefined ? undefined : [...new Set(toList(written))];
}
