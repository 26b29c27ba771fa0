import type { Inbound } from '../config/inbound.ts';
import type { Claims } from '../tokens/token-text.ts';

/** Not possible in a header, or lost there: a reader trims the value, and would take " admin" for "admin". */
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
