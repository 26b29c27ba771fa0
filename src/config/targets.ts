import type { ConfigNode, Reading } from '../documents/config-node.ts';
import { ABSOLUTE_URI } from './units.ts';

/** One string or several, without the entries that have errors. */
export type OneOrMany = string | readonly (string | undefined)[];

export function toList(written: OneOrMany): string[] {
  return typeof written === 'string' ? [written] : written.filter((entry) => entry !== undefined);
}

/** Reads `resource`: absolute URIs without a fragment (RFC 8707 section 2), kept as written. */
export function readResource(written: OneOrMany, node: ConfigNode): readonly string[] {
  for (const [index, entry] of (typeof written === 'string' ? [written] : written).entries()) {
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
export function readScope(written: string, node: ConfigNode): string {
  const tokens = written.split(/[ \t\r\n]+/).filter((token) => token !== '');
  if (tokens.some((token) => !SCOPE_TOKEN.test(token))) {
    node.error(
      'contains a character that is not allowed in a scope: use printable ASCII without quotes and backslashes',
    );
  }
  return tokens.join(' ');
}

export function readSingleScope(text: string): Reading<string> {
  return SCOPE_TOKEN.test(text)
    ? { value: text }
    : { problem: 'must be one scope: printable ASCII without spaces, quotes and backslashes' };
}

/** Scheme and authority as browsers send them in `Origin` (RFC 6454 section 6.2). */
const ORIGIN = /^[a-z][a-z0-9+.-]*:\/\/[^/?#@*\s]+$/;

/** Browsers send an origin in one form only, so any other would never match. */
export function readOrigin(text: string): Reading<string> {
  const origin = text.toLowerCase().replace(/\/$/, '');
  if (!ORIGIN.test(origin) || !URL.canParse(origin)) {
    return {
      problem: 'must be the origin of a web page, with only scheme, host and port, as in https://app.example.com',
    };
  }
  // URL has no origin for an unknown scheme, such as that of a browser extension.
  const known = new URL(origin).origin;
  const form = known === 'null' ? origin : known;
  return form === text ? { value: text } : { problem: `must be written as browsers send it: "${form}"` };
}

/**
 * Check of the `aud` of an issued JWT. A list: `aud` must contain one of these. `only`: it must also contain nothing else.
 * `any`: no check.
 */
export type ExpectedAudience = readonly string[] | { readonly only: readonly string[] } | 'any';

export function readExpectAudience(
  written: OneOrMany | { readonly only?: OneOrMany | undefined },
  node: ConfigNode,
): ExpectedAudience | undefined {
  if (typeof written !== 'object' || 'length' in written) return readAudiences(written, node);
  if (written.only === undefined) return undefined;
  return { only: namedAudiences(written.only, node.at('only')) };
}

/** Audiences of which a token must have one, or `any`. */
export function readAudiences(written: OneOrMany, node: ConfigNode): readonly string[] | 'any' {
  return written === 'any' ? 'any' : namedAudiences(written, node);
}

/** Reads audiences. `any` is refused, because it would accept tokens for every service. */
export function namedAudiences(written: OneOrMany, node: ConfigNode): readonly string[] {
  const list = toList(written);
  if (list.length === 0 || list.includes('any')) node.error('must name at least one audience, and not "any"');
  return list;
}
