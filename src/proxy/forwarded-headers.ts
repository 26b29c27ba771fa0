import { HOP_BY_HOP } from '../config/header-names.ts';
import { containsToken } from './caller-tokens.ts';
import { headerValues, type RawHeaders, REQUEST_ID } from './headers.ts';
import { withDashes } from './withheld-headers.ts';

/** What changes in the headers of a request on its way upstream. */
export interface RequestHeaderRules {
  /** `Host` of the upstream. */
  readonly host: string;
  /** Headers that are dropped, in addition to the hop-by-hop headers: lower case, with dashes for underscores. */
  readonly withheld: ReadonlySet<string>;
  /** The caller's tokens. A header whose value contains one of them is dropped, whatever its name. */
  readonly callerTokens: readonly string[];
  readonly requestId: string;
}

/**
 * Builds the headers that the upstream gets, without `Authorization`, which the dispatcher adds.
 * @see RFC 9110 section 7.6.1
 */
export function upstreamHeaders(raw: RawHeaders, rules: RequestHeaderRules): string[] {
  const listed = connectionOptions(headerValues(raw, 'connection'));
  const headers = ['host', rules.host];
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const key = name.toLowerCase();
    if (key === 'host' || key === REQUEST_ID || HOP_BY_HOP.has(key)) continue;
    if (rules.withheld.has(withDashes(key)) || listed?.has(key) === true) continue;
    if (containsToken(value, rules.callerTokens)) continue;
    headers.push(name, value);
  }
  headers.push(REQUEST_ID, rules.requestId);
  return headers;
}

/**
 * Builds the response headers that the caller gets.
 * @param raw as received from the upstream
 */
export function callerHeaders(raw: RawHeaders): string[] {
  const headers: string[] = [];
  let listed: Set<string> | undefined;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    const key = name.toLowerCase();
    if (key === 'connection') listed = connectionOptions([value], listed);
    if (!HOP_BY_HOP.has(key)) headers.push(name, value);
  }
  return listed === undefined ? headers : without(headers, listed);
}

/** Removes the headers with these lower-case names. */
export function without(headers: string[], names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    if (!names.has(name.toLowerCase())) kept.push(name, headers[i + 1] as string);
  }
  return kept;
}

/** Kept even if `Connection` lists it, because without it the message would end elsewhere. */
const FRAMING = 'content-length';

/** The header names that `Connection` lists. Undefined if it lists only the usual options. @param known names to add to */
function connectionOptions(values: readonly string[], known?: Set<string>): Set<string> | undefined {
  let listed = known;
  for (const value of values) {
    if (value === 'keep-alive' || value === 'close') continue;
    listed ??= new Set();
    for (const name of value.toLowerCase().split(',')) listed.add(name.trim());
  }
  listed?.delete(FRAMING);
  return listed;
}
