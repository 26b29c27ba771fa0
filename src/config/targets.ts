import type { ExpectedAudience, TokenTarget } from './config.ts';
import type { ConfigNode } from './config-node.ts';
import { ABSOLUTE_URI } from './units.ts';

export type Written = string | (string | undefined)[] | undefined;

/** One or many, as a list; what is wrong in it was taken out. */
export function toList(written: Written): string[] | undefined {
  if (written === undefined) return undefined;
  return typeof written === 'string' ? [written] : written.filter((entry) => entry !== undefined);
}

/** RFC 8707 section 2: an absolute URI, which may have a query and must not have a fragment. Nothing else is changed. */
export function readResource(written: Written, node: ConfigNode): readonly string[] | undefined {
  for (const [index, entry] of (typeof written === 'string' ? [written] : (written ?? [])).entries()) {
    const at = typeof written === 'string' ? node : node.at(index);
    if (entry === undefined || ABSOLUTE_URI.test(entry)) continue;
    at.error(
      entry.includes('#')
        ? 'must not have a fragment: remove "#" and what follows'
        : 'must be an absolute URI, as in https://backend.example.com/mcp; a logical name belongs into "audience"',
    );
  }
  return toList(written);
}

export function readAudience(written: Written): readonly string[] | undefined {
  return toList(written);
}

/** RFC 6749 section 3.3. */
const SCOPE_TOKEN = /^[!#-[\]-~]+$/;

/** Scopes with single spaces between them; `''` for none. */
export function readScope(written: string | undefined, node: ConfigNode): string | undefined {
  const tokens = written?.split(/[ \t\r\n]+/).filter((token) => token !== '');
  if (tokens?.some((token) => !SCOPE_TOKEN.test(token))) {
    node.error('has a character that no scope may have: scopes are printable ASCII without quotes and backslashes');
  }
  return tokens?.join(' ');
}

/** Scopes in a list, one each. */
export function readScopes(
  written: (string | undefined)[] | undefined,
  node: ConfigNode,
): readonly string[] | undefined {
  for (const [index, scope] of (written ?? []).entries()) {
    if (scope !== undefined && !SCOPE_TOKEN.test(scope)) {
      node.at(index).error('must be one scope: printable ASCII without spaces, quotes and backslashes');
    }
  }
  return written === undefined ? undefined : [...new Set(toList(written))];
}

/** What a route asks for where it may leave things out. */
interface AskedFor {
  readonly resource?: readonly string[] | undefined;
  readonly audience?: readonly string[] | undefined;
  readonly scope?: string | undefined;
  readonly requestedTokenType?: string | undefined;
  readonly expectAudience?: ExpectedAudience | undefined;
}

/** @param canonicalUri of the upstream: the `resource` where neither it nor an audience is named; undefined: then none is */
export function resolveTarget(asked: AskedFor, canonicalUri: string | undefined, node: ConfigNode): TokenTarget {
  const audience = asked.audience ?? [];
  const resource = asked.resource ?? (audience.length > 0 || canonicalUri === undefined ? [] : [canonicalUri]);
  const expectAudience = asked.expectAudience ?? [...new Set([...resource, ...audience])];
  const isUnknown = typeof expectAudience === 'object' && 'length' in expectAudience && expectAudience.length === 0;
  if (isUnknown && !node.at('expect_audience').broken && !node.at('resource').broken) {
    node.error(
      'sends neither resource nor audience, so nothing tells whom an issued token must be for: set expect_audience to what the backend expects in "aud", or to any',
    );
  }
  return {
    resource,
    audience,
    scope: asked.scope === '' ? undefined : asked.scope,
    requestedTokenType: asked.requestedTokenType,
    expectAudience,
  };
}
