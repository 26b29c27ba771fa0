import type { Inbound, OpenPath } from '../config/inbound.ts';
import type { ActiveConfig } from '../proxy/active-config.ts';
import { OVERRIDES, withDashes } from '../proxy/request-headers.ts';
import type { RequestTarget } from '../routing/request-target.ts';
import { oncePer } from '../secrets/secret.ts';
import { claimsOf } from '../tokens/subject.ts';
import type { Claims } from '../tokens/token-text.ts';
import { BAGGAGE } from './baggage.ts';
import type { Handle } from './handles.ts';

export type InboundRules = ReturnType<typeof inboundRules>;

const NONE: readonly string[] = [];

export const inboundRules = oncePer(({ config: { inbound }, withheld }: ActiveConfig) => {
  if (inbound === undefined) throw new Error('the config has no inbound section');
  /** The key is the claims of the last introspection, or else the handle: a token always states the same. */
  const claims = new WeakMap<object, readonly string[]>();
  const names = inbound.claims.map(([header]) => withDashes(header));
  return {
    inbound,
    /**
     * Lower-case names, with dashes for underscores, of the headers that no caller can send. With an override header, a request
     * could take an open path and reach what another path is for.
     */
    reserved: new Set([...withheld.common, BAGGAGE, ...names, ...(inbound.open.length > 0 ? OVERRIDES : [])]),
    /** The claims that the agent gets, as alternating header names and values. */
    claimsFor(handle: Handle): readonly string[] {
      if (names.length === 0) return NONE;
      const key = handle.subject.introspected ?? handle;
      let headers = claims.get(key);
      if (headers === undefined) {
        headers = claimHeaders(claimsOf(handle.subject), inbound.claims);
        claims.set(key, headers);
      }
      return headers;
    },
  };
});

/** A header cannot carry control characters, and its reader trims spaces: it would take " admin" for "admin". */
const NOT_KEPT = /\p{Cc}|^\s|\s$/u;

/** The claims that the agent gets, as alternating header names and values. A claim that no header can carry is left out. */
export function claimHeaders(claims: Claims, wanted: Inbound['claims']): string[] {
  return wanted.flatMap(([header, name]) => {
    const value = claims !== undefined && Object.hasOwn(claims, name) ? headerValue(claims[name]) : undefined;
    return value === undefined ? [] : [header, value];
  });
}

/**
 * Text as UTF-8. A list of texts is joined by commas, so a comma inside one is percent-encoded: a group "dev,admin" must not look like
 * two groups.
 */
function headerValue(claim: unknown): string | undefined {
  const parts: unknown[] = Array.isArray(claim) ? claim : [claim];
  if (parts.length === 0 || !parts.every((part) => ['string', 'number', 'boolean'].includes(typeof part))) {
    return undefined;
  }
  const text = parts.map(String);
  if (text.some((part) => NOT_KEPT.test(part))) return undefined;
  const value = text.map((part) => part.replace(/[%,]/g, encodeURIComponent)).join(',');
  return Buffer.from(value, 'utf8').toString('latin1');
}

/**
 * Tells whether a request needs no token. Only the plain spelling of a path is open, because servers may read another spelling as
 * another path.
 */
export function isOpen({ path, plainPath }: RequestTarget, open: readonly OpenPath[]): boolean {
  if (path === undefined || plainPath !== undefined || path.includes('%')) return false;
  return open.some((one) => (one.isPrefix ? path.startsWith(one.path) : path === one.path));
}
