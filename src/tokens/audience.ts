import type { ExpectedAudience } from '../config/expect-audience.ts';
import { CambistError } from '../errors.ts';
import type { Claims } from './claims.ts';
import { grantedBy } from './granted.ts';

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
