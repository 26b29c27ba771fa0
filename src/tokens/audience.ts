import { LRUCache } from 'lru-cache';
import type { ExpectedAudience } from '../config/targets.ts';
import { CambistError } from '../errors.ts';
import { shortened } from '../observability/shortened.ts';
import { isLikeToken } from '../secrets/like-a-token.ts';
import type { Claims } from './token-text.ts';

/** The audience and scope of an issued token, for reports. They name backends and permissions, and no user. */
export interface Granted {
  /** Empty where the token does not state it. */
  readonly audience: readonly string[];
  /** Neither the token nor the response has to state it. */
  readonly scope: string | undefined;
}

const MAX_AUDIENCES = 16;
const MAX_AUDIENCE_LENGTH = 256;
const MAX_SCOPE_LENGTH = 1024;
/** Longer names, in characters, are rare. Servers may state anything. */
const MAX_KEY_LENGTH = 4096;

/** Thousands of tokens have the same audience and scope, and share one object. */
const known = new LRUCache<string, Granted>({ max: 256 });
/** The names that the last token stated, and their result. To write and find the key takes longer than all the rest. */
let last: { readonly audience: unknown; readonly scope: string | undefined; readonly granted: Granted } | undefined;

/**
 * Names are left out that look like tokens: a server may write into them what it was sent.
 * @param responseScope the `scope` of the token response, if any (RFC 6749 section 5.1)
 */
export function grantedBy(claims: Claims, responseScope: string | undefined): Granted {
  const audience: unknown = claims?.aud;
  const scope = scopeOf(claims) ?? responseScope;
  if (last !== undefined && last.audience === audience && last.scope === scope) return last.granted;
  const stated = { audience: namesIn(audience), scope };
  const key = JSON.stringify(stated);
  let granted = known.get(key);
  if (granted === undefined) {
    granted = { audience: shownOf(stated.audience), scope: withoutToken(scope) };
    if (key.length > MAX_KEY_LENGTH || isLikeToken(key)) return granted;
    known.set(key, granted);
  }
  // A list of audiences is another object in each token, and not compared.
  if (typeof audience === 'string') last = { audience, scope, granted };
  return granted;
}

/** The `scope` of a token (RFC 9068 section 2.2.3), or `scp` as Entra and Okta name it. */
function scopeOf(claims: Claims): string | undefined {
  const scope: unknown = claims?.scope ?? claims?.scp;
  const text = Array.isArray(scope) ? scope.filter((part) => typeof part === 'string').join(' ') : scope;
  return typeof text === 'string' ? text : undefined;
}

function withoutToken(scope: string | undefined): string | undefined {
  return scope === undefined || isLikeToken(scope) ? undefined : shortened(scope, MAX_SCOPE_LENGTH);
}

/** Any other JSON value is left out: to write one that nests deeply would exhaust the stack. */
function namesIn(audience: unknown): string[] {
  const list: unknown[] = Array.isArray(audience) ? audience : [audience];
  return list.filter((name) => typeof name === 'string');
}

function shownOf(names: readonly string[]): string[] {
  const shown = names.filter((name) => !isLikeToken(name)).slice(0, MAX_AUDIENCES);
  return shown.map((name) => shortened(name, MAX_AUDIENCE_LENGTH));
}

/**
 * Refuses an issued JWT for another backend. An opaque token cannot be checked and is accepted.
 * @throws {CambistError} ERR_ISSUED_TOKEN_AUDIENCE
 * @see RFC 7519 section 4.1.3
 */
export function checkAudience(claims: Claims, expected: ExpectedAudience, routeName: string): void {
  if (isFor(claims, expected)) return;
  throw new CambistError('ERR_ISSUED_TOKEN_AUDIENCE', `route "${routeName}": ${reasonAndFix(expected)}`, {
    issuedAudience: grantedBy(claims, undefined).audience,
  });
}

function reasonAndFix(expected: ExpectedAudience): string {
  if (typeof expected === 'object' && 'only' in expected) {
    return (
      `the issued token is not for this backend alone: its "aud" must contain nothing but ${JSON.stringify(expected.only)}: ` +
      'change the audience mapping of the authorization server, or list all accepted values in expect_audience.only'
    );
  }
  return (
    `the issued token is not for this backend: its "aud" contains none of ${JSON.stringify(expected)}: ` +
    'change the audience mapping of the authorization server, or set expect_audience to the value that it issues'
  );
}

/** Tells whether a JWT has an expected `aud`. An opaque token counts as having it, because it cannot be checked. */
export function isFor(claims: Claims, expected: ExpectedAudience): boolean {
  if (expected === 'any' || claims === undefined) return true;
  const audiences = audiencesOf(claims);
  if ('only' in expected) return audiences.length > 0 && audiences.every((name) => includes(expected.only, name));
  return audiences.some((name) => includes(expected, name));
}

/** Tells whether a JWT with an expected `aud` is also valid at other audiences. */
export function isForOthers(claims: Claims, expected: ExpectedAudience): boolean {
  if (expected === 'any' || claims === undefined || 'only' in expected) return false;
  return audiencesOf(claims).some((name) => !includes(expected, name));
}

/** A hostile server can put any JSON value there. */
function audiencesOf(claims: NonNullable<Claims>): readonly unknown[] {
  const audience: unknown = claims.aud;
  return Array.isArray(audience) ? audience : [audience];
}

function includes(expected: readonly string[], name: unknown): boolean {
  return typeof name === 'string' && expected.includes(name);
}
